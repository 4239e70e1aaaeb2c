// What runtime.cc and checks.cc know of each other.
#pragma once
#include "cuda.h"

namespace cuda_host {

struct Lane {                                         // one CUDA thread: a fiber
    void* stack_pointer;
    char* stack;
    int index;                                        // in its block
    uint3 thread;
    bool returned;
    int line;                                         // of the barrier at which it waits
};

struct Warp {
    int arrived;
    unsigned generation, mask;
    uint64_t slots[2][32];
    float a[256], b[256], c[256];
};

extern Lane* current;
extern uint3 block_now;
extern dim3 block_size, grid_size;
extern char* shared_dynamic;
extern size_t shared_dynamic_size;
extern unsigned long block_number;

constexpr size_t STACK = 64 << 10;

[[noreturn]] void fault(const char* kind, const char* format, ...) __attribute__((format(printf, 2, 3)));

#ifdef CUDA_HOST_CHECKED
// checks.cc
void check_launch();
void check_block();                                   // before the first thread of a block
void check_block_end();
void check_sync_block();                              // all threads of the block have arrived
void check_sync_warp(int warp, unsigned mask);        // all lanes of the mask have arrived
void check_launch_end();
#else
inline void check_launch() {}
inline void check_block() {}
inline void check_block_end() {}
inline void check_sync_block() {}
inline void check_sync_warp(int, unsigned) {}
inline void check_launch_end() {}
#endif

}  // namespace cuda_host
