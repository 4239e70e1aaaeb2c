// What runtime.cc and checks.cc know of each other.
#pragma once
#include "cuda.h"

#include <vector>

namespace cuda_host {

struct Lane {                                         // one CUDA thread: a fiber
    void* stack_pointer;
    char* stack;
    uint3 thread;
    int number;                                       // in its block
    bool returned;
    // While it waits: for `*gate` to move on from `passed`; at which line, at a barrier or in its warp.
    const unsigned* gate;
    unsigned passed;
    int line;
    const char* rule;
};

struct Meeting {                                      // of the lanes of one mask, once
    unsigned mask, arrived, leaving;
    int line;
    unsigned generation;
    uint64_t brought[32];
};

struct Warp {
    int lanes;
    unsigned used;                                    // of the meetings: lanes wait there or have not left yet
    Meeting meetings[32];
    float a[256], b[256];                             // of a product of matrices
};

constexpr size_t STACK = 64 << 10;
constexpr size_t STATIC_SHARED = 48 << 10, SHARED = 227 << 10;                     // bytes a block may have

extern Lane* current;                                 // null outside a launch
extern std::vector<Lane> lanes;
extern const Kernel* running;
extern void** arguments;
extern char* stacks;
extern unsigned long block_number;
extern size_t dynamic_size;

void fail(const char* rule, const char* format, ...) __attribute__((format(printf, 2, 3)));    // the launch is over
[[noreturn]] void fault(const char* rule, const char* format, ...) __attribute__((format(printf, 2, 3)));

#ifdef CUDA_HOST_CHECKED
// checks.cc
size_t check_shared();                                // bytes of the kernel's __shared__ variables
void check_launch();                                  // brings the arguments into buffers of its own
void check_block();                                   // before the first thread of a block
void check_block_end();
void check_sync_block();                              // all threads of the block have arrived
void check_meeting(int warp, unsigned mask, bool fence);                           // all lanes of the mask have
void check_launch_end();
const char* check_cause(const char* rule);            // text of an earlier fault that may have led to one of this rule
#else
inline size_t check_shared() { return running->shared_end - running->shared_begin; }
inline void check_launch() {}
inline void check_block() {}
inline void check_block_end() {}
inline void check_sync_block() {}
inline void check_meeting(int, unsigned, bool) {}
inline void check_launch_end() {}
inline const char* check_cause(const char*) { return nullptr; }
#endif

}  // namespace cuda_host
