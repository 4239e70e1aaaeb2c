// Fibers, barriers and warps: how the threads of a block take turns.  See cuda.h.
#include "runtime.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <vector>
#include <sys/mman.h>
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

extern char __start_cuda_shared[] __attribute__((weak, visibility("hidden")));
extern char __stop_cuda_shared[] __attribute__((weak, visibility("hidden")));

namespace cuda_host {

Lane* current;
uint3 block_now;
dim3 block_size, grid_size;
char* shared_dynamic;
size_t shared_dynamic_size;
unsigned long block_number;

static std::vector<Lane> lanes;
static std::vector<Warp> warps;
static int alive, arrived, barrier_line, votes[2];
static unsigned generation;
static unsigned long progress;
static bool failed;
static char message[1024];
static const Kernel* running;
static void** arguments;

// ---- switching stacks
#if defined(__x86_64__)
static void* main_stack;
extern "C" void cuda_host_switch(void** save, void* load) __attribute__((visibility("hidden")));
asm(R"(
.text
.globl cuda_host_switch
.hidden cuda_host_switch
.type cuda_host_switch,@function
cuda_host_switch:
  pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15
  movq %rsp,(%rdi); movq %rsi,%rsp
  popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp
  ret
)");
static void enter();
static void prepare(Lane& lane) {
    void** top = (void**)(lane.stack + STACK - 64);
    *--top = nullptr;                                 // where enter would return to: it never does
    *--top = (void*)enter;
    top -= 6;                                         // the six saved registers
    std::memset(top, 0, 48);
    lane.stack_pointer = top;
}
static void to_lane() { cuda_host_switch(&main_stack, current->stack_pointer); }
static void to_main() { cuda_host_switch(&current->stack_pointer, main_stack); }
#else
static ucontext_t main_context;
static std::vector<ucontext_t> contexts;
static void enter();
static void prepare(Lane& lane) {
    contexts.resize(lanes.size());
    ucontext_t& context = contexts[lane.index];
    getcontext(&context);
    context.uc_stack.ss_sp = lane.stack;
    context.uc_stack.ss_size = STACK;
    context.uc_link = nullptr;
    makecontext(&context, enter, 0);
}
static void to_lane() { swapcontext(&main_context, &contexts[current->index]); }
static void to_main() { swapcontext(&contexts[current->index], &main_context); }
#endif

static void enter() {
    running->call(running->function, arguments);
    current->returned = true;
    --alive;
    ++progress;
    for (;;) to_main();
}

void fault(const char* kind, const char* format, ...) {
    if (!failed) {
        char what[700];
        va_list list;
        va_start(list, format);
        vsnprintf(what, sizeof what, format, list);
        va_end(list);
        snprintf(message, sizeof message, "%s|%s: %s, block (%u, %u, %u)", kind, running->name, what, block_now.x,
                 block_now.y, block_now.z);
    }
    failed = true;
    for (;;) to_main();                               // this launch is over: nobody comes back here
}

// ---- what a thread asks about itself
uint3 thread_idx() { return current->thread; }
uint3 block_idx() { return block_now; }
dim3 block_dim() { return block_size; }
dim3 grid_dim() { return grid_size; }
int lane() { return current->index % 32; }
char* dynamic_shared() { return shared_dynamic; }

// ---- barriers
int sync_block(Vote vote, int predicate, int line) {
    unsigned mine = generation;
    if (arrived == 0) votes[mine & 1] = 0, barrier_line = line;
    if (line != barrier_line)
        fault("barrier", "threads of one block wait at different barriers (lines %d and %d)", barrier_line, line);
    votes[mine & 1] += predicate;
    current->line = line;
    ++progress;
    if (++arrived == (int)lanes.size()) {
        arrived = 0;
        ++generation;
        check_sync_block();
    } else {
        while (generation == mine) {
            if (alive < (int)lanes.size())
                fault("barrier", "thread %d waits at __syncthreads (line %d), which threads that returned never reach",
                      current->index, line);
            to_main();
        }
    }
    ++progress;
    int sum = votes[mine & 1];
    return vote == Vote::all ? sum == (int)lanes.size() : vote == Vote::any ? sum > 0 : sum;
}

static Warp& meet(unsigned mask, int line, bool fence = false) {
    int index = current->index / 32, me = current->index % 32;
    Warp& warp = warps[index];
    unsigned mine = warp.generation;
    int count = std::min<int>(32, (int)lanes.size() - index * 32);
    mask &= count == 32 ? ~0u : (1u << count) - 1;
    current->line = line;
    ++progress;
    if (!(mask >> me & 1)) fault("warp", "lane %d is not in the mask it passed (line %d)", me, line);
    if (warp.arrived == 0) warp.mask = mask;
    else if (warp.mask != mask) fault("warp", "lanes of one warp passed different masks (line %d)", line);
    if (++warp.arrived == __builtin_popcount(mask)) {
        warp.arrived = 0;
        ++warp.generation;
        if (fence) check_sync_warp(index, mask);
    } else {
        while (warp.generation == mine) to_main();
    }
    ++progress;
    return warp;
}

void sync_warp(unsigned mask, int line) { meet(mask, line, true); }

uint64_t exchange(unsigned mask, uint64_t value, int source, int line) {
    int me = current->index % 32;
    unsigned slot = warps[current->index / 32].generation & 1;
    warps[current->index / 32].slots[slot][me] = value;
    Warp& warp = meet(mask, line);
    if (source < 0 || source > 31) source = me;
    if (!(warp.mask >> source & 1)) fault("warp", "lane %d reads lane %d, outside the mask (line %d)", me, source, line);
    return warp.slots[slot][source];
}

unsigned ballot(unsigned mask, int predicate, int line) {
    unsigned slot = warps[current->index / 32].generation & 1, bits = 0;
    warps[current->index / 32].slots[slot][current->index % 32] = predicate != 0;
    Warp& warp = meet(mask, line);
    for (int i = 0; i < 32; ++i)
        if (warp.mask >> i & 1) bits |= (unsigned)warp.slots[slot][i] << i;
    return bits;
}

void multiply_16x16x16(const float* a, const float* b, float* c, int line) {
    int me = current->index % 32;
    Warp& warp = warps[current->index / 32];
    for (int e = 0; e < 8; ++e) warp.a[e * 32 + me] = a[e], warp.b[e * 32 + me] = b[e];
    meet(~0u, line);
    for (int e = 0; e < 8; ++e) {
        int row = (e * 32 + me) / 16, column = (e * 32 + me) % 16;
        for (int k = 0; k < 16; ++k) c[e] += warp.a[row * 16 + k] * warp.b[k * 16 + column];
    }
    meet(~0u, line);
}

#ifndef CUDA_HOST_CHECKED
void atomic_access(const volatile void*, size_t) {}
#endif

// ---- a launch
static void poison(char* from, size_t size) { std::memset(from, 0xff, size); }       // NaN in every floating-point type

static void run_block(const std::vector<int>& order) {
    int count = (int)lanes.size();
    alive = count;
    arrived = 0;
    generation = 0;
    for (Warp& warp : warps) warp.arrived = 0, warp.generation = 0;
    poison(__start_cuda_shared, __stop_cuda_shared - __start_cuda_shared);
    poison(shared_dynamic, shared_dynamic_size);
    for (Lane& lane : lanes) lane.returned = false, lane.line = 0, prepare(lane);
    check_block();
    while (alive && !failed) {
        unsigned long before = progress;
        for (int i : order) {
            current = &lanes[i];
            if (!current->returned) to_lane();
            if (failed) return;
        }
        if (progress == before) {
            for (Lane& lane : lanes)
                if (!lane.returned) { current = &lane; break; }
            snprintf(message, sizeof message, "barrier|%s: threads wait for each other for ever, the first of them "
                     "(%d) at line %d, block (%u, %u, %u)", running->name, current->index, current->line, block_now.x,
                     block_now.y, block_now.z);
            failed = true;
        }
    }
    if (!failed) check_block_end();
}

static void shuffled(std::vector<int>& order, unsigned long seed) {
    for (size_t i = order.size(); i > 1; --i) {
        seed = seed * 6364136223846793005ul + 1442695040888963407ul;
        std::swap(order[i - 1], order[(seed >> 33) % i]);
    }
}

}  // namespace cuda_host

using namespace cuda_host;

extern "C" const char* cuda_host_parameters(const char* name, int i) {
    for (const Kernel* k = kernels; k->name; ++k)
        if (!std::strcmp(k->name, name)) return k->parameters[i];
    return nullptr;
}

// 0, or the text of the fault.  `turn` 0: threads and blocks in order, 1: backwards, else shuffled by it.
extern "C" const char* cuda_host_launch(const char* name, const unsigned* grid, const unsigned* block, size_t dynamic,
                                        void** args, unsigned long turn) {
    for (running = kernels; running->name && std::strcmp(running->name, name);) ++running;
    if (!running->name) return "name|no such kernel";
    arguments = args;
    failed = false;
    grid_size = {grid[0], grid[1], grid[2]};
    block_size = {block[0], block[1], block[2]};
    int count = (int)(block[0] * block[1] * block[2]);
    size_t blocks = (size_t)grid[0] * grid[1] * grid[2];
    lanes.assign(count, Lane{});
    warps.assign((count + 31) / 32, Warp{});
    shared_dynamic_size = dynamic;
    shared_dynamic = (char*)std::aligned_alloc(128, (dynamic + 255) / 128 * 128);
    char* stacks = (char*)mmap(nullptr, STACK * count, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    std::vector<int> order(count);
    std::iota(order.begin(), order.end(), 0);
    if (turn == 1) std::reverse(order.begin(), order.end());
    if (turn > 1) shuffled(order, turn);
    for (int i = 0; i < count; ++i) {
        unsigned u = (unsigned)i;
        lanes[i].index = i;
        lanes[i].stack = stacks + STACK * i;
        lanes[i].thread = {u % block[0], u / block[0] % block[1], u / (block[0] * block[1])};
    }
    check_launch();
    for (size_t b = 0; b < blocks && !failed; ++b) {
        block_number = turn == 1 ? blocks - 1 - b : b;
        block_now = {(unsigned)(block_number % grid[0]), (unsigned)(block_number / grid[0] % grid[1]),
                     (unsigned)(block_number / grid[0] / grid[1])};
        run_block(order);
    }
    if (!failed) check_launch_end();
    munmap(stacks, STACK * count);
    std::free(shared_dynamic);
    return failed ? message : nullptr;
}
