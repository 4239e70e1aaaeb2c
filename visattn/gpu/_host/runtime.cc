// Fibers, barriers and warps: how the threads of a block take turns.  See cuda.h.
#include "runtime.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <vector>
#include <sys/mman.h>
#if !defined(__x86_64__) && !defined(CUDA_HOST_UCONTEXT)
#define CUDA_HOST_UCONTEXT
#endif
#ifdef CUDA_HOST_UCONTEXT
#include <ucontext.h>
#endif

#define CUDA_HOST_EXPORT extern "C" __attribute__((visibility("default")))

namespace cuda_host {

Here here;
Lane* current;
std::vector<Lane> lanes;
const Kernel* running;
void** arguments;
char* stacks;
unsigned long block_number;

static std::vector<Warp> warps;
size_t dynamic_size;
static size_t room;                                   // threads for which there are stacks
static int alive, arrived, barrier_line, votes[2];
static unsigned generation;                           // of the block's barrier
static bool failed;
static char message[1024];
static const char stack_end[] = "the last bytes of a stack";

// ---- switching stacks
#ifndef CUDA_HOST_UCONTEXT
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
    ucontext_t& context = contexts[lane.number];
    getcontext(&context);
    context.uc_stack.ss_sp = lane.stack;
    context.uc_stack.ss_size = STACK;
    context.uc_link = nullptr;
    makecontext(&context, enter, 0);
}
static void to_lane() { swapcontext(&main_context, &contexts[current->number]); }
static void to_main() { swapcontext(&contexts[current->number], &main_context); }
#endif

static void enter() {
    running->call(running->function, arguments);
    current->returned = true;
    --alive;
    for (;;) to_main();
}

static void fail_with(const char* rule, const char* format, va_list list) {
    if (failed) return;
    failed = true;
    if (const char* cause = check_cause(rule)) {
        snprintf(message, sizeof message, "%s", cause);
        return;
    }
    int begun = snprintf(message, sizeof message, "%s|%s: ", rule, running->name);
    vsnprintf(message + begun, sizeof message - begun, format, list);
}
void fail(const char* rule, const char* format, ...) {
    va_list list;
    va_start(list, format);
    fail_with(rule, format, list);
    va_end(list);
}

void fault(const char* rule, const char* format, ...) {
    va_list list;
    va_start(list, format);
    fail_with(rule, format, list);
    va_end(list);
    for (;;) to_main();                               // this launch is over: nobody comes back here
}

// ---- waiting
static void wait(const unsigned& gate, const char* rule, int line) {
    current->gate = &gate;
    current->passed = gate;
    current->rule = rule;
    current->line = line;
    while (gate == current->passed) to_main();
    current->gate = nullptr;
}

int sync_block(Vote vote, int predicate, int line) {
    int& sum = votes[generation & 1];
    if (arrived == 0) sum = 0, barrier_line = line;
    if (line != barrier_line)
        fault("barrier", "threads of one block wait at different barriers, lines %d and %d", barrier_line, line);
    sum += predicate;
    if (++arrived == (int)lanes.size()) {
        arrived = 0;
        ++generation;
        check_sync_block();
    } else {
        wait(generation, "barrier", line);
    }
    return vote == Vote::all ? sum == (int)lanes.size() : vote == Vote::any ? sum > 0 : sum;
}

// The lanes of `mask` meet.  What each brings can be read until the caller waits again.
static const uint64_t* meet(unsigned mask, int line, bool fence, uint64_t brings = 0) {
    int number = current->number / 32, me = lane();
    Warp& warp = warps[number];
    mask &= ~0u >> (32 - warp.lanes);
    if (!(mask >> me & 1)) fault("warp", "lane %d is not in the mask that it passes, line %d", me, line);
    const unsigned expected = __builtin_popcount(mask);
    unsigned where = __builtin_ctz(~warp.used);       // a new meeting, unless somebody of this mask waits already
    for (unsigned rest = warp.used; rest; rest &= rest - 1)
        if (Meeting& m = warp.meetings[__builtin_ctz(rest)]; m.mask == mask && m.arrived) where = __builtin_ctz(rest);
    Meeting& meeting = warp.meetings[where];
    if (meeting.arrived && meeting.line != line)
        fault("warp", "lanes of one warp meet at different lines, %d and %d", meeting.line, line);
    warp.used |= 1u << where;
    meeting.mask = mask;
    meeting.line = line;
    meeting.brought[me] = brings;
    if (++meeting.arrived == expected) {
        meeting.arrived = 0;
        meeting.leaving = expected;
        ++meeting.generation;
        check_meeting(number, mask, fence);
    } else {
        wait(meeting.generation, "warp", line);
    }
    if (--meeting.leaving == 0) warp.used &= ~(1u << where);
    return meeting.brought;
}

void sync_warp(unsigned mask, int line) { meet(mask, line, true); }

uint64_t exchange(unsigned mask, uint64_t value, int source, int line) {
    const uint64_t* brought = meet(mask, line, false, value);
    if (source < 0 || source > 31 || !(mask >> source & 1) || source >= warps[current->number / 32].lanes)
        fault("warp", "lane %d reads lane %d, which is outside the mask %08x, line %d", lane(), source, mask, line);
    return brought[source];
}

unsigned ballot(unsigned mask, int predicate, int line) {
    const uint64_t* brought = meet(mask, line, false, predicate != 0);
    unsigned bits = 0;
    for (int i = 0; i < warps[current->number / 32].lanes; ++i)
        if (mask >> i & 1) bits |= (unsigned)brought[i] << i;
    return bits;
}

void multiply_16x16x16(const float* a, const float* b, float* c, int line) {
    int me = lane();
    Warp& warp = warps[current->number / 32];
    if (warp.lanes < 32) fault("warp", "a product of matrices needs 32 lanes; the last warp of the block has %d",
                               warp.lanes);
    for (int e = 0; e < 8; ++e) warp.a[e * 32 + me] = a[e], warp.b[e * 32 + me] = b[e];
    meet(~0u, line, false);
    for (int e = 0; e < 8; ++e) {
        int row = (e * 32 + me) / 16, column = (e * 32 + me) % 16;
        for (int k = 0; k < 16; ++k) c[e] += warp.a[row * 16 + k] * warp.b[k * 16 + column];
    }
    meet(~0u, line, false);
}

// ---- a block
static void poison(char* from, size_t size) { std::memset(from, 0xff, size); }       // NaN in every floating-point type

// Nobody can go on: who waits, and for whom?
static const Meeting& meeting_of(const Lane& lane) {
    return *(const Meeting*)((const char*)lane.gate - offsetof(Meeting, generation));
}
static bool waits_for(const Lane& one, const Lane& other) {
    if (other.gate == one.gate && !other.returned) return false;
    return one.gate == &generation || (other.number / 32 == one.number / 32 &&
                                       meeting_of(one).mask >> other.number % 32 & 1);
}
static void stuck() {
    const Lane& one = *std::find_if(lanes.begin(), lanes.end(), [](const Lane& l) { return !l.returned; });
    const Lane& other = *std::find_if(lanes.begin(), lanes.end(), [&](const Lane& l) { return waits_for(one, l); });
    auto where = [](const Lane& lane) { return lane.gate == &generation ? "at a barrier" : "for its warp"; };
    if (other.returned)
        fail(one.rule, "thread %d waits %s, line %d, for thread %d, which has returned", one.number, where(one),
             one.line, other.number);
    else if (one.gate != &generation && other.gate != &generation)
        fail("warp", "lanes of one warp pass different masks, %08x at line %d and %08x at line %d",
             meeting_of(one).mask, one.line, meeting_of(other).mask, other.line);
    else
        fail(one.rule, "thread %d waits %s, line %d, for thread %d, which waits %s, line %d", one.number, where(one),
             one.line, other.number, where(other), other.line);
}

static void run_block(const std::vector<int>& order) {
    alive = (int)lanes.size();
    arrived = 0;
    poison(running->shared_begin, running->shared_end - running->shared_begin);
    poison(here.dynamic_shared, dynamic_size);
    for (Lane& lane : lanes) {
        lane.returned = false;
        lane.gate = nullptr;
        std::memcpy(lane.stack, stack_end, sizeof stack_end);
        prepare(lane);
    }
    check_block();
    while (alive && !failed) {
        bool ran = false;
        for (int i : order) {
            Lane& lane = lanes[i];
            if (lane.returned || (lane.gate && *lane.gate == lane.passed)) continue;
            current = &lane;
            here.thread = lane.thread;
            here.number = i;
            to_lane();
            ran = true;
            if (std::memcmp(lane.stack, stack_end, sizeof stack_end))
                fail("stack", "thread %d needs more than %zu KiB for its local variables", i, STACK >> 10);
            if (failed) return;
        }
        if (!ran) stuck();
    }
    if (!failed) check_block_end();
}

// ---- a launch
static void shuffle_order(std::vector<int>& order, unsigned long seed) {
    for (size_t i = order.size(); i > 1; --i) {
        seed = seed * 6364136223846793005ul + 1442695040888963407ul;
        std::swap(order[i - 1], order[(seed >> 33) % i]);
    }
}
// 0: as numbered, 1: backwards, else shuffled by it.
static std::vector<int> in_turn(size_t count, unsigned long turn) {
    std::vector<int> order(count);
    std::iota(order.begin(), order.end(), 0);
    if (turn == 1) std::reverse(order.begin(), order.end());
    if (turn > 1) shuffle_order(order, turn);
    return order;
}

static void hold_to_limits(const unsigned* grid, const unsigned* block, size_t dynamic) {
    size_t threads = (size_t)block[0] * block[1] * block[2], shared = check_shared();
    if (!grid[0] || !grid[1] || !grid[2] || !threads) fail("launch", "a grid or block of size 0");
    if (grid[0] > 0x7fffffff || grid[1] > 65535 || grid[2] > 65535)
        fail("launch", "a grid of (%u, %u, %u); at most (2147483647, 65535, 65535)", grid[0], grid[1], grid[2]);
    if (block[0] > 1024 || block[1] > 1024 || block[2] > 64 || threads > 1024)
        fail("launch", "a block of (%u, %u, %u); at most 1024 threads, 64 in z", block[0], block[1], block[2]);
    if (threads > (size_t)running->threads)
        fail("launch", "a block of %zu threads; __launch_bounds__ says %d", threads, running->threads);
    if (shared > STATIC_SHARED)
        fail("shared", "its variables take %zu bytes of shared memory; at most %zu", shared, STATIC_SHARED);
    if (shared + dynamic > SHARED)
        fail("shared", "%zu bytes of shared memory, %zu of them dynamic; at most %zu", shared + dynamic, dynamic,
             SHARED);
}

// Stacks stay from launch to launch.  Below the first there is room, too: what overruns a stack is found out later.
static void make_room(size_t threads) {
    constexpr size_t below = 16 * STACK;
    if (threads <= room) return;
    if (stacks) munmap(stacks - below, below + STACK * room);
    void* made = mmap(nullptr, below + STACK * threads, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    stacks = made == MAP_FAILED ? nullptr : (char*)made + below;
    room = stacks ? threads : 0;
    if (!stacks) fail("launch", "no memory for the stacks of its threads");
}

}  // namespace cuda_host

using namespace cuda_host;

CUDA_HOST_EXPORT const char* cuda_host_parameters(const char* name, int i) {
    for (const Kernel* k = kernels; k->name; ++k)
        if (!std::strcmp(k->name, name)) return k->parameters[i];
    return nullptr;
}

// Null, or "rule|text" of the fault.
CUDA_HOST_EXPORT const char* cuda_host_launch(const char* name, const unsigned* grid, const unsigned* block,
                                              size_t dynamic, void** args, unsigned long turn) {
    for (running = kernels; running->name && std::strcmp(running->name, name);) ++running;
    arguments = args;
    failed = false;
    here = {};
    here.grid_size = {grid[0], grid[1], grid[2]};
    here.block_size = {block[0], block[1], block[2]};
    hold_to_limits(grid, block, dynamic);
    size_t count = (size_t)block[0] * block[1] * block[2];
    if (!failed) make_room(count);
    if (failed) return message;
    dynamic_size = dynamic;
    here.dynamic_shared = (char*)std::aligned_alloc(128, (dynamic + 255) / 128 * 128);
    lanes.assign(count, Lane{});
    warps.assign((count + 31) / 32, Warp{});
    for (size_t i = 0; i < warps.size(); ++i) warps[i].lanes = (int)std::min<size_t>(32, count - i * 32);
    for (size_t i = 0; i < count; ++i) {
        unsigned u = (unsigned)i;
        lanes[i].number = (int)i;
        lanes[i].stack = stacks + STACK * i;
        lanes[i].thread = {u % block[0], u / block[0] % block[1], u / (block[0] * block[1])};
    }
    check_launch();
    const std::vector<int> order = in_turn(count, turn);
    for (int b : in_turn((size_t)grid[0] * grid[1] * grid[2], turn)) {
        block_number = (unsigned long)b;
        here.block = {b % grid[0], b / grid[0] % grid[1], b / grid[0] / grid[1]};
        run_block(order);
        if (failed) break;
    }
    current = nullptr;
    check_launch_end();
    std::free(here.dynamic_shared);
    if (!failed) return nullptr;
    size_t told = std::strlen(message);
    snprintf(message + told, sizeof message - told, "; block (%u, %u, %u)", here.block.x, here.block.y, here.block.z);
    return message;
}
