// The checked build: every load and store of a kernel held to CUDA's rules, and counted.
//
// The kernel is compiled with the compiler's thread and undefined-behaviour sanitizers, but without their libraries:
// the functions that they would call on each access are at the end of this file.  What they lead to, in order:
//
//   where     an access lies in an array that was given, in the kernel's shared memory or in the thread's own variables
//   order     two accesses of an element, one of them a write, are ordered by a barrier, or both are atomic
//   written   nobody reads what nobody has written
//   counts    bytes, sectors and bank conflicts of each instruction of a warp
//
// Arrays are copied into buffers of this file's, far from each other, and what is not const is copied back.  In a text
// <pc …> stands for a place in the code and <argument …> for a parameter; __init__.py puts their names there.
#include "runtime.h"

#include <array>
#include <bit>
#include <cstdio>
#include <string>
#include <sys/mman.h>

extern char __ehdr_start[] __attribute__((visibility("hidden")));      // of this library: by the linker
extern char _DYNAMIC[] __attribute__((visibility("hidden")));          // after all that is constant in it

namespace cuda_host {

using Address = uintptr_t;
enum Kind : uint8_t { reads, writes, atomic };

// ---- where: the memory that a kernel may touch

struct Cell;
struct Moved { unsigned long reads, writes, atomics, sectors_read, sectors_written, unwritten; };

struct Region {
    Address begin, end;
    int argument;                                     // the first that points here; -1: shared memory
    std::string name;                                 // of a shared variable
    bool constant;
    size_t item;                                      // bytes of an element
    bool shows;                                       // an element with all bits set: nobody has written it
    bool blank;                                       // the whole array is ones: nobody has written it
    int grain;                                        // log2 of the bytes of a cell: as fine as the finest access
    Cell* cells;
};

struct Argument { int number; char* data; size_t bytes, item; bool shows, constant; Region* region; };

static std::vector<Argument> given;                   // by cuda_host_array, before the launch
static std::vector<Region> variables;                 // the file's __shared__ variables, by cuda_host_variable
static std::vector<Region> regions;                   // of this launch
static std::vector<Moved> moved;                      // of each argument
static unsigned long shared_accesses, bank_conflicts;
static char* reserved;
static size_t reserved_size;
constexpr size_t APART = 64 << 20;                    // bytes between two arrays

static size_t pages(size_t bytes) { return (bytes + 4095) / 4096 * 4096; }
static bool all_ones(Address at, size_t size) {
    for (size_t i = 0; i < size; ++i)
        if (((unsigned char*)at)[i] != 0xff) return false;
    return true;
}
static Region shared_region(const std::string& name, Address begin, size_t size) {
    return {begin, begin + size, -1, name, false, 1, false, false, 2, nullptr};
}

size_t check_shared() {
    size_t sum = 0;
    for (const Region& v : variables)
        if (v.begin >= (Address)running->shared_begin && v.begin < (Address)running->shared_end) sum += v.end - v.begin;
    return sum;
}

// Arguments that overlap are one region: what a kernel does to the one it does to the other.
static void bring_arguments() {
    std::sort(given.begin(), given.end(), [](auto& a, auto& b) { return a.data < b.data; });
    std::vector<std::vector<Argument*>> groups;
    char* end = nullptr;
    for (Argument& a : given) {
        if (groups.empty() || a.data >= end) groups.emplace_back(), end = nullptr;
        groups.back().push_back(&a);
        end = std::max(end, a.data + a.bytes);
    }
    reserved_size = APART;
    for (const Argument& a : given) reserved_size += APART + pages(a.bytes + 256);
    reserved = (char*)mmap(nullptr, reserved_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    char* next = reserved + APART;
    regions.reserve(groups.size() + variables.size() + 1);
    for (auto& group : groups) {
        char *from = group[0]->data, *to = from;
        Region r{0, 0, 1 << 30, "", true, 8, true, true, 0, nullptr};
        for (Argument* a : group) {
            to = std::max(to, a->data + a->bytes);
            r.argument = std::min(r.argument, a->number);
            r.constant &= a->constant;
            r.item = std::min(r.item, a->item);
            r.shows &= a->shows;
        }
        char* buffer = next + (Address)from % 16;     // NumPy aligns to 16, what starts elsewhere starts elsewhere here
        mprotect(next, pages(to - from + 256), PROT_READ | PROT_WRITE);
        next += pages(to - from + 256) + APART;
        std::memcpy(buffer, from, to - from);
        r.begin = (Address)buffer;
        r.end = r.begin + (to - from);
        r.blank = !r.constant && r.end > r.begin && all_ones(r.begin, r.end - r.begin);
        r.grain = __builtin_ctzl(r.item);
        regions.push_back(r);
        for (Argument* a : group) {
            a->region = &regions.back();
            *(char**)arguments[a->number] = buffer + (a->data - from);
        }
    }
}

static std::string thread_name(int number) {
    uint3 t = lanes[number].thread;
    std::string name = "thread " + std::to_string(number);
    if (here.block_size.y * here.block_size.z > 1)
        name += " (" + std::to_string(t.x) + ", " + std::to_string(t.y) + ", " + std::to_string(t.z) + ")";
    return name;
}
static std::string place(const Region& r) {
    return r.argument < 0 ? "shared " + r.name : "<argument " + std::to_string(r.argument) + ">";
}
static std::string element(const Region& r, Address at) {
    return r.argument < 0 ? "byte " + std::to_string(at - r.begin) + " of " + place(r)
                          : place(r) + "[" + std::to_string((at - r.begin) / r.item) + "]";
}
static const char* verb(Kind kind) { return kind == reads ? "reads" : kind == writes ? "writes" : "updates"; }

[[noreturn]] static void out_of_bounds(Address at, size_t size, Kind kind, Address pc) {
    std::string who = thread_name(current->number), where = "where no array lies";
    size_t nearest = 1 << 30;
    for (const Region& r : regions) {
        size_t past = at >= r.begin ? std::max(at, r.end) - r.end : nearest;
        size_t before = at < r.begin ? r.begin - at : nearest;
        if (before < nearest) nearest = before, where = std::to_string(before) + " bytes before " + place(r);
        if (past < nearest) nearest = past, where = (past ? std::to_string(past) + " bytes" : std::string("right")) +
                                                    " past the end of " + place(r);
        if (at < r.end && at + size > r.end) where = "across the end of " + place(r);
    }
    if (at < 4096) where = "through a null pointer";
    if (at - (Address)stacks < STACK * lanes.size())
        where = "from the local variables of " + thread_name((int)((at - (Address)stacks) / STACK));
    fault("bounds", "%s %s %zu bytes at <pc %lx>, %s", who.c_str(), verb(kind), size, pc - (Address)__ehdr_start,
          where.c_str());
}

static Region* find(Address at, size_t size, Kind kind, Address pc) {
    for (Region& r : regions)
        if (at >= r.begin && at + size <= r.end) return &r;
    if (kind == reads && at >= (Address)__ehdr_start && at + size <= (Address)_DYNAMIC) return nullptr;    // a constant
    out_of_bounds(at, size, kind, pc);
}

// ---- order: who comes before whom
//
// A phase is what lies between two barriers of a block; phases are numbered through the launch, and blocks run one
// after another, so that a phase before the block's first is one of another block.  Within a phase only the lanes of a
// warp can be ordered, by __syncwarp: `known[i][j]` is how many meetings of the warp had been when lane i last heard
// of lane j, itself or through others.  What lane j did before that is known to lane i.

struct Write { unsigned phase, when; uint16_t thread, site; };
struct Accesses {                                     // of threads that are not ordered among each other
    unsigned phase, when, lanes;                      // `when` is of the last; all of one warp …
    uint8_t warp;
    uint8_t other : 6;                                // … or, plus one, another warp that came, too
    bool blocks : 1;                                  // … or other blocks
    uint16_t site;
};
struct Cell { Write write; Accesses reads, atomics; };

struct Order { unsigned meetings; unsigned known[32][32]; };
static std::vector<Order> orders;                     // of each warp
static unsigned phase, first_phase;
static std::vector<unsigned> first_phases;            // of the blocks, as they ran
static std::vector<unsigned long> block_numbers;

struct Site { Address pc; unsigned size; Kind kind; Region* region; };
static std::vector<Site> sites;                       // places in the code that touch memory

static bool before_me(unsigned when, int other) {     // of a lane of this warp, in this phase
    return when < orders[current->number / 32].known[current->number % 32][other];
}
static bool happened_before(const Write& w, bool shared) {
    if (w.phase < first_phase) return shared || !w.phase;
    return w.phase < phase || w.thread == current->number ||
        (w.thread / 32 == current->number / 32 && before_me(w.when, w.thread % 32));
}
static bool happened_before(const Accesses& a, bool shared) {
    if (a.phase < first_phase) return shared || !a.phase;
    if (a.blocks && !shared) return false;
    if (a.phase < phase) return true;
    if (a.other || a.warp != current->number / 32) return false;
    for (unsigned rest = a.lanes & ~(1u << current->number % 32); rest; rest &= rest - 1)
        if (!before_me(a.when, __builtin_ctz(rest))) return false;
    return true;
}
static void add(Accesses& a, unsigned site, bool shared) {
    unsigned warp = current->number / 32, me = 1u << current->number % 32, when = orders[warp].meetings;
    if (a.phase == phase && a.warp != warp) {
        a.other = warp + 1;
        return;
    }
    if (a.phase == phase && !a.other && !(a.when < when && happened_before(a, shared))) me |= a.lanes;
    bool blocks = !shared && a.phase && (a.blocks || a.phase < first_phase);
    a = {phase, when, me, (uint8_t)warp, a.phase == phase ? a.other : (uint8_t)0, blocks, (uint16_t)site};
}

static std::string who(unsigned its_phase, int thread) {
    if (its_phase >= first_phase) return thread_name(thread);
    size_t b = std::upper_bound(first_phases.begin(), first_phases.end(), its_phase) - first_phases.begin() - 1;
    unsigned long n = block_numbers[b];
    unsigned x = here.grid_size.x, y = here.grid_size.y;
    char block[80];
    snprintf(block, sizeof block, " of block (%lu, %lu, %lu)", n % x, n / x % y, n / x / y);
    return thread_name(thread) + block;
}
static int somebody(const Accesses& a) {              // other than me
    if (a.phase == phase && a.other && a.warp == current->number / 32) return (a.other - 1) * 32;
    unsigned others = a.lanes;
    if (a.phase == phase && a.warp == current->number / 32) others &= ~(1u << current->number % 32);
    return a.warp * 32 + __builtin_ctz(others ? others : a.lanes);
}
[[noreturn]] static void race(const Region& r, Address at, unsigned site, unsigned its_phase, int thread,
                              unsigned its_site) {
    std::string me = thread_name(current->number), other = who(its_phase, thread);
    fault("race", "%s %s %s at <pc %lx>, %s %s it at <pc %lx>, and nothing orders the two", me.c_str(),
          verb(sites[site].kind), element(r, at).c_str(), sites[site].pc - (Address)__ehdr_start, other.c_str(),
          verb(sites[its_site].kind), sites[its_site].pc - (Address)__ehdr_start);
}

// Cells are split until none is larger than an access; the halves share their history.
static void refine(Region& r, Address at, size_t size) {
    while (((at - r.begin) | size) & ((1u << r.grain) - 1)) {
        size_t count = ((r.end - r.begin) >> r.grain) + 1;
        Cell* finer = (Cell*)std::calloc(2 * count, sizeof(Cell));
        for (size_t i = 0; i < 2 * count; ++i) finer[i] = r.cells[i / 2];
        std::free(r.cells);
        r.cells = finer;
        --r.grain;
    }
}

// Who reads what nobody has written may have come too early: then somebody writes it yet, and that is a race.  So the
// text waits: for the next barrier, with a global array for the end of the launch.
static char early[512];
static uint3 early_block;
static bool early_shared;

static void unwritten(const Region& r, Address at, unsigned site) {
    if (*early) return;
    early_block = here.block;
    early_shared = r.argument < 0;
    snprintf(early, sizeof early, "unwritten|%s: %s %s %s at <pc %lx>, which nobody has written", running->name,
             thread_name(current->number).c_str(), verb(sites[site].kind), element(r, at).c_str(),
             sites[site].pc - (Address)__ehdr_start);
}
static void still_unwritten(bool shared) { if (*early && early_shared == shared) fail("unwritten", "%s", early); }
const char* check_cause(const char* rule) {
    if (!*early || !std::strcmp(rule, "race")) return nullptr;
    here.block = early_block;
    return early;
}

static bool never_written(const Region& r, const Cell& c, Address at) {
    if (r.argument < 0) return c.write.phase < first_phase;
    if (c.write.phase || c.atomics.phase) return false;
    return r.blank || (r.shows && all_ones(r.begin + (at - r.begin) / r.item * r.item, r.item));
}

static void hold(Region& r, Address at, size_t size, Kind kind, unsigned site) {
    if (!r.cells) r.cells = (Cell*)std::calloc(((r.end - r.begin) >> r.grain) + 2, sizeof(Cell));
    refine(r, at, size);
    bool shared = r.argument < 0;
    for (size_t i = (at - r.begin) >> r.grain, last = (at + size - 1 - r.begin) >> r.grain; i <= last; ++i) {
        Cell& c = r.cells[i];
        Address its = r.begin + (i << r.grain);
        if (!happened_before(c.write, shared)) race(r, its, site, c.write.phase, c.write.thread, c.write.site);
        if (kind != atomic && !happened_before(c.atomics, shared))
            race(r, its, site, c.atomics.phase, somebody(c.atomics), c.atomics.site);
        if (kind != reads && !happened_before(c.reads, shared))
            race(r, its, site, c.reads.phase, somebody(c.reads), c.reads.site);
        if (kind != writes && never_written(r, c, its)) unwritten(r, its, site);
        if (kind == writes)
            c = {{phase, orders[current->number / 32].meetings, (uint16_t)current->number, (uint16_t)site}, {}, {}};
        else
            add(kind == reads ? c.reads : c.atomics, site, shared);
    }
}

// ---- counts
//
// Each lane keeps a log of its accesses.  When all lanes of a warp come together (a barrier, a warp instruction, the
// end) the logs are laid side by side: the n-th time that lanes came by one place in the code is one instruction.  What
// it moves are the distinct bytes that its lanes touch, in sectors of 32 bytes.  Caches are not modelled.

static std::vector<std::array<std::vector<uint64_t>, 32>> logs;                       // site << 48 | address

static void count_shared(const Site& site, const uint64_t* at, int lanes) {
    static std::vector<uint64_t> words;
    ++shared_accesses;
    int together = std::max(1u, std::min(32u, 128 / site.size));                     // lanes of one pass over the banks
    for (int from = 0; from < lanes; from += together) {
        words.clear();
        for (int i = from; i < std::min(lanes, from + together); ++i)
            for (uint64_t w = at[i] / 4; w <= (at[i] + site.size - 1) / 4; ++w) words.push_back(w);
        if (!std::is_sorted(words.begin(), words.end())) std::sort(words.begin(), words.end());
        words.erase(std::unique(words.begin(), words.end()), words.end());
        int banks[32] = {}, most = 1;
        for (uint64_t w : words) most = std::max(most, ++banks[w % 32]);
        bank_conflicts += most - 1;
    }
}

static void count_global(const Site& site, Moved& m, uint64_t* at, int lanes) {
    if (site.kind == atomic) {
        m.atomics += lanes;
        return;
    }
    if (!std::is_sorted(at, at + lanes)) std::sort(at, at + lanes);
    unsigned long bytes = 0, sectors = 0;
    uint64_t end = 0, sector = 0;                     // what lies before them has been counted
    for (int i = 0; i < lanes; ++i) {
        uint64_t to = at[i] + site.size;
        if (to > end) bytes += to - std::max(end, at[i]), end = to;
        uint64_t first = std::max(sector, at[i] / 32), past = (to - 1) / 32 + 1;
        if (past > first) sectors += past - first, sector = past;
    }
    (site.kind == reads ? m.reads : m.writes) += bytes;
    (site.kind == reads ? m.sectors_read : m.sectors_written) += sectors;
}

static void count(unsigned s, uint64_t* at, int lanes) {                              // one instruction of a warp
    const Site& site = sites[s];
    for (int from = 0, to = 0; from < lanes; from = to) {
        Region* r = site.region;
        if (at[from] < r->begin || at[from] >= r->end) r = find(at[from], site.size, site.kind, site.pc);
        while (to < lanes && at[to] >= r->begin && at[to] < r->end) ++to;
        if (r->argument < 0) count_shared(site, at + from, to - from);
        else count_global(site, moved[r->argument], at + from, to - from);
    }
}

static void lay_side_by_side(int warp) {
    constexpr uint64_t ADDRESS = (1ul << 48) - 1;
    static std::vector<unsigned> most, times, first;  // of each site: how often a lane came by; its instructions
    static std::vector<std::array<uint64_t, 32>> instructions;
    static std::vector<int> size;
    auto& its = logs[warp];
    if (std::all_of(its.begin(), its.end(), [](auto& log) { return log.empty(); })) return;
    most.assign(sites.size(), 0);
    for (auto& log : its) {
        times.assign(sites.size(), 0);
        for (uint64_t entry : log) most[entry >> 48] = std::max(most[entry >> 48], ++times[entry >> 48]);
    }
    first.assign(1, 0);
    for (unsigned m : most) first.push_back(first.back() + m);
    instructions.resize(first.back());
    size.assign(first.back(), 0);
    for (auto& log : its) {
        times.assign(sites.size(), 0);
        for (uint64_t entry : log) {
            unsigned i = first[entry >> 48] + times[entry >> 48]++;
            instructions[i][size[i]++] = entry & ADDRESS;
        }
        log.clear();
    }
    for (unsigned s = 0, i = 0; s < most.size(); ++s)
        for (; i < first[s + 1]; ++i) count(s, instructions[i].data(), size[i]);
}

// ---- what the runtime tells

void check_launch() {
    regions.clear();
    sites.clear();
    first_phases.clear();
    block_numbers.clear();
    phase = 0;
    moved.assign(64, Moved{});
    shared_accesses = bank_conflicts = 0;
    bring_arguments();
    for (const Region& v : variables)
        if (v.begin >= (Address)running->shared_begin && v.begin < (Address)running->shared_end) regions.push_back(v);
    regions.push_back(shared_region("memory", (Address)here.dynamic_shared, dynamic_size));
    orders.assign((lanes.size() + 31) / 32, Order{});
    logs.resize(orders.size());
    for (auto& warp : logs) for (auto& log : warp) log.clear();
}
void check_block() {
    first_phase = ++phase;
    first_phases.push_back(phase);
    block_numbers.push_back(block_number);
}
void check_sync_block() {
    ++phase;
    still_unwritten(true);
    for (size_t w = 0; w < logs.size(); ++w) lay_side_by_side((int)w);
}
void check_block_end() { check_sync_block(); }
void check_meeting(int warp, unsigned mask, bool fence) {
    if (__builtin_popcount(mask) == std::min<int>(32, (int)lanes.size() - warp * 32)) lay_side_by_side(warp);
    if (!fence) return;
    Order& order = orders[warp];
    ++order.meetings;
    unsigned joined[32] = {};
    for (int i = 0; i < 32; ++i)
        if (mask >> i & 1)
            for (int j = 0; j < 32; ++j) joined[j] = std::max(joined[j], order.known[i][j]);
    for (int i = 0; i < 32; ++i)
        if (mask >> i & 1) joined[i] = order.meetings;
    for (int i = 0; i < 32; ++i)
        if (mask >> i & 1) std::memcpy(order.known[i], joined, sizeof joined);
}
void check_launch_end() {
    still_unwritten(false);
    for (Argument& a : given) {
        const Region& r = *a.region;
        Address begin = *(Address*)arguments[a.number];
        if (a.constant) continue;
        std::memcpy(a.data, (void*)begin, a.bytes);
        for (Address at = begin; at < begin + a.bytes; at += a.item)
            moved[a.number].unwritten += r.cells ? never_written(r, r.cells[(at - r.begin) >> r.grain], at)
                                                 : r.blank || (r.shows && all_ones(at, a.item));
    }
    for (Region& r : regions) std::free(r.cells);
    regions.clear();
    munmap(reserved, reserved_size);
}

// ---- the compiler's hooks

static unsigned site_of(Address pc, unsigned size, Kind kind) {
    static uint16_t table[1 << 12];                   // of sites, plus one, by their pc; a site is where its pc says
    unsigned slot = (unsigned)((pc * 0x9e3779b97f4a7c15u) >> 52);
    for (;; slot = (slot + 1) % (1 << 12)) {
        unsigned s = table[slot];
        if (s && s <= sites.size() && sites[s - 1].pc == pc && sites[s - 1].kind == kind) return s - 1;
        if (!s || s > sites.size()) break;
    }
    if (sites.empty()) std::memset(table, 0, sizeof table);
    if (sites.size() == (1 << 11)) fault("launch", "more places touch memory than the checked build tells apart");
    sites.push_back({pc, size, kind, nullptr});
    table[slot] = (uint16_t)sites.size();
    return (unsigned)sites.size() - 1;
}

static inline void access(const volatile void* address, size_t size, Kind kind, void* from) {
    Address at = (Address)address, pc = (Address)from - 1;                            // within the call
    if (!current || at - (Address)current->stack < STACK) return;                    // a variable of its own
    unsigned s = site_of(pc, (unsigned)size, kind);
    Region* r = sites[s].region;
    if (!r || at < r->begin || at + size > r->end) {
        r = sites[s].region = find(at, size, kind, pc);
        if (!r) return;
    }
    if (kind != reads && r->constant)
        fault("const", "%s %s %s at <pc %lx>, which is const", thread_name(current->number).c_str(), verb(kind),
              element(*r, at).c_str(), pc - (Address)__ehdr_start);
    if (std::has_single_bit(size) && size <= 16 && (at & (size - 1)))
        fault("address", "%s %s %zu bytes of %s at <pc %lx>, at an address that is no multiple of %zu",
              thread_name(current->number).c_str(), verb(kind), size, place(*r).c_str(), pc - (Address)__ehdr_start,
              size);
    hold(*r, at, size, kind, s);
    logs[current->number / 32][current->number % 32].push_back((uint64_t)s << 48 | at);
}

void atomic_access(const volatile void* address, size_t size, void* from) { access(address, size, atomic, from); }

void copy(void* to, const void* from, size_t size) {
    access(from, size, reads, __builtin_return_address(0));
    access(to, size, writes, __builtin_return_address(0));
    std::memcpy(to, from, size);
}

Here now() { return here; }

struct Source { const char* file; unsigned line, column; };
[[noreturn]] static void undefined(const char* rule, const Source* at, const char* what) {
    const char* file = std::strrchr(at->file, '/');
    fault(rule, "%s %s at %s:%u", thread_name(current->number).c_str(), what, file ? file + 1 : at->file, at->line);
}

}  // namespace cuda_host

using namespace cuda_host;

#define EXPORT extern "C" __attribute__((visibility("default")))
EXPORT void cuda_host_prepare() { given.clear(), *early = 0; }
EXPORT void cuda_host_array(int number, char* data, size_t bytes, size_t item, int shows, int constant) {
    given.push_back({number, data, bytes, item, shows != 0, constant != 0, nullptr});
}
EXPORT void cuda_host_variable(const char* name, size_t offset, size_t size) {
    variables.push_back(shared_region(name, (Address)__ehdr_start + offset, size));
}
EXPORT void cuda_host_counted(int number, unsigned long* to) { std::memcpy(to, &moved[number], sizeof(Moved)); }
EXPORT void cuda_host_counted_shared(unsigned long* to) { to[0] = shared_accesses, to[1] = bank_conflicts; }

#define HOOK extern "C" __attribute__((visibility("hidden"))) void
#define HERE __builtin_return_address(0)
#define SIZED(n) \
    HOOK __tsan_read##n(void* p) { access(p, n, reads, HERE); } \
    HOOK __tsan_write##n(void* p) { access(p, n, writes, HERE); } \
    HOOK __tsan_unaligned_read##n(void* p) { access(p, n, reads, HERE); } \
    HOOK __tsan_unaligned_write##n(void* p) { access(p, n, writes, HERE); }
SIZED(1) SIZED(2) SIZED(4) SIZED(8) SIZED(16)
HOOK __tsan_read_range(void* p, size_t n) { access(p, n, reads, HERE); }
HOOK __tsan_write_range(void* p, size_t n) { access(p, n, writes, HERE); }
HOOK __tsan_init() {}
HOOK __tsan_func_entry(void*) {}
HOOK __tsan_func_exit() {}
HOOK __tsan_vptr_update(void**, void*) {}
HOOK __tsan_vptr_read(void**) {}

#define OVERFLOWS(which) \
    HOOK __ubsan_handle_##which##_overflow(Source* s, void*, void*) { \
        undefined("overflow", s, "exceeds the range of its integers"); \
    }
OVERFLOWS(add) OVERFLOWS(sub) OVERFLOWS(mul) OVERFLOWS(negate)
HOOK __ubsan_handle_divrem_overflow(Source* s, void*, void*) { undefined("overflow", s, "divides by zero"); }
HOOK __ubsan_handle_shift_out_of_bounds(Source* s, void*, void*) {
    undefined("overflow", s, "shifts by more bits than there are");
}
HOOK __ubsan_handle_out_of_bounds(Source* s, void* index) {
    char what[80];
    snprintf(what, sizeof what, "takes element %ld of an array that has fewer", (long)index);
    undefined("bounds", s, what);
}
HOOK __ubsan_handle_type_mismatch_v1(Source* s, void* at) {
    undefined((Address)at < 4096 ? "bounds" : "address", s,
              (Address)at < 4096 ? "goes through a null pointer" : "uses an address that its type's alignment forbids");
}
