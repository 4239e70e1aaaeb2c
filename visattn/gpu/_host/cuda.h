// CUDA C++ on the CPU: what a .cu file needs in order to compile, unmodified, with g++ and to run here.
//
// One fiber per CUDA thread, one block after another; a fiber runs until it waits at a barrier or a warp
// instruction.  runtime.cc holds the fibers; checks.cc, in a checked build, holds every load and store to the rules.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#define __global__
// NVIDIA's compilers inline nearly everything, too; then a place in the machine code is one instruction of a kernel.
#define __device__ __attribute__((always_inline))
#define __host__
#define __constant__ static const
#define __forceinline__ inline
#define __launch_bounds__(...)                        // the build reads it from the text
#define __align__(n) alignas(n)

// The build writes CUDA_HOST_SHARED(kernel) for the `__shared__` in a kernel's body: a section of memory for each.
#define __shared__ shared_memory_belongs_into_a_kernel
#define CUDA_HOST_JOINED(a, b) a##b
#define CUDA_HOST_JOIN(a, b) CUDA_HOST_JOINED(a, b)
#define CUDA_HOST_SECTION(kernel) static __attribute__((used, section("cuda_shared_" #kernel)))
#ifdef CUDA_HOST_CHECKED                              // a gap before each variable: what runs into it is seen
#define CUDA_HOST_SHARED(kernel) \
    CUDA_HOST_SECTION(kernel) char CUDA_HOST_JOIN(cuda_host_gap_, __COUNTER__)[256]; CUDA_HOST_SECTION(kernel)
#else
#define CUDA_HOST_SHARED(kernel) CUDA_HOST_SECTION(kernel)
#endif

struct uint3 { unsigned x, y, z; };
struct dim3 { unsigned x = 1, y = 1, z = 1; };

// Vectors.  A checked build sees one of them read or written as one access, which takes a copy that it can watch.
#ifdef CUDA_HOST_CHECKED
namespace cuda_host { void copy(void* to, const void* from, size_t size); }
#define CUDA_HOST_COPIES(name) \
    __device__ name(const name& from) { cuda_host::copy(this, &from, sizeof from); } \
    __device__ name& operator=(const name& from) { cuda_host::copy(this, &from, sizeof from); return *this; }
#define CUDA_HOST_VECTOR2(name, T) struct alignas(2 * sizeof(T)) name { \
    T x, y; CUDA_HOST_COPIES(name) constexpr name(T x = 0, T y = 0) : x(x), y(y) {} };
#define CUDA_HOST_VECTOR4(name, T) struct alignas(4 * sizeof(T)) name { \
    T x, y, z, w; CUDA_HOST_COPIES(name) \
    constexpr name(T x = 0, T y = 0, T z = 0, T w = 0) : x(x), y(y), z(z), w(w) {} };
#else
#define CUDA_HOST_VECTOR2(name, T) struct alignas(2 * sizeof(T)) name { T x, y; };
#define CUDA_HOST_VECTOR4(name, T) struct alignas(4 * sizeof(T)) name { T x, y, z, w; };
#endif
CUDA_HOST_VECTOR2(float2, float)
CUDA_HOST_VECTOR4(float4, float)
CUDA_HOST_VECTOR2(int2, int)
CUDA_HOST_VECTOR4(int4, int)
CUDA_HOST_VECTOR4(uint4, unsigned)
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline int2 make_int2(int x, int y) { return {x, y}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }

namespace cuda_host {

struct Here {                                         // where the thread that runs now is
    uint3 thread, block;
    dim3 block_size, grid_size;
    int number;                                       // of the thread in its block
    char* dynamic_shared;
};
extern Here here;
#ifdef CUDA_HOST_CHECKED                              // not among the kernel's own loads
Here now();
#else
inline const Here& now() { return here; }
#endif
inline int lane() { return now().number % 32; }
inline char* dynamic_shared() { return now().dynamic_shared; }

enum class Vote { none, count, all, any };
int sync_block(Vote vote, int predicate, int line);
void sync_warp(unsigned mask, int line);
uint64_t exchange(unsigned mask, uint64_t value, int source, int line);      // a shuffle: no fence
unsigned ballot(unsigned mask, int predicate, int line);
void multiply_16x16x16(const float* a, const float* b, float* c, int line);  // 8 elements of each from every lane
#ifdef CUDA_HOST_CHECKED
void atomic_access(const volatile void* address, size_t size, void* from);
#else
inline void atomic_access(const volatile void*, size_t, void*) {}
#endif

template <class T> T shuffle(unsigned mask, T value, int source, int line) {
    static_assert(sizeof(T) <= 8, "a shuffle moves at most 8 bytes");
    uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof(T));
    bits = exchange(mask, bits, source, line);
    std::memcpy(&value, &bits, sizeof(T));
    return value;
}

// Whole, as fibers never run at once; a checked build is told of it instead of seeing a load and a store.
#define CUDA_HOST_ATOMIC(name, new_value, ...) \
    template <class T> __attribute__((noinline, no_sanitize("thread"))) \
    T name(T* p, __VA_ARGS__ __VA_OPT__(,) T v) { \
        atomic_access(p, sizeof(T), __builtin_return_address(0)); \
        T old = *p; \
        *p = new_value; \
        return old; \
    }
CUDA_HOST_ATOMIC(fetch_add, old + v)
CUDA_HOST_ATOMIC(fetch_max, v > old ? v : old)
CUDA_HOST_ATOMIC(fetch_min, v < old ? v : old)
CUDA_HOST_ATOMIC(exchange_with, v)
CUDA_HOST_ATOMIC(compare_and_swap, old == expected ? v : old, T expected)

// The types of a kernel's parameters, one letter each: "c" const and "p" pointer before what it points to.
template <class T> struct code { static_assert(sizeof(T) == 0, "a kernel cannot take an argument of this type"); };

}  // namespace cuda_host

#define threadIdx (cuda_host::now().thread)
#define blockIdx (cuda_host::now().block)
#define blockDim (cuda_host::now().block_size)
#define gridDim (cuda_host::now().grid_size)
#define warpSize 32

#define __syncthreads() ((void)cuda_host::sync_block(cuda_host::Vote::none, 0, __LINE__))
#define __syncthreads_count(p) cuda_host::sync_block(cuda_host::Vote::count, (p) != 0, __LINE__)
#define __syncthreads_and(p) cuda_host::sync_block(cuda_host::Vote::all, (p) != 0, __LINE__)
#define __syncthreads_or(p) cuda_host::sync_block(cuda_host::Vote::any, (p) != 0, __LINE__)
#define CUDA_HOST_SYNCWARP(mask, ...) cuda_host::sync_warp(mask, __LINE__)
#define __syncwarp(...) CUDA_HOST_SYNCWARP(__VA_ARGS__ __VA_OPT__(,) 0xffffffffu)
// The source of a shuffle lies in the caller's own group of `width` lanes; where it would not, a lane keeps its value.
namespace cuda_host {
inline int of_group(int source, int width = 32) { return lane() / width * width + (source & (width - 1)); }
inline int within_group(int source, int width = 32) { return source / width == lane() / width ? source : lane(); }
inline int downward(int by, int width = 32) { return within_group(lane() + by, width); }
inline int upward(int by, int width = 32) { return lane() % width < by ? lane() : lane() - by; }
inline int across(int bits, int width = 32) { return within_group(lane() ^ bits, width); }
}  // namespace cuda_host
#define __shfl_sync(mask, value, ...) cuda_host::shuffle(mask, value, cuda_host::of_group(__VA_ARGS__), __LINE__)
#define __shfl_xor_sync(mask, value, ...) cuda_host::shuffle(mask, value, cuda_host::across(__VA_ARGS__), __LINE__)
#define __shfl_down_sync(mask, value, ...) cuda_host::shuffle(mask, value, cuda_host::downward(__VA_ARGS__), __LINE__)
#define __shfl_up_sync(mask, value, ...) cuda_host::shuffle(mask, value, cuda_host::upward(__VA_ARGS__), __LINE__)
#define __ballot_sync(mask, p) cuda_host::ballot(mask, (p) != 0, __LINE__)
#define __any_sync(mask, p) (cuda_host::ballot(mask, (p) != 0, __LINE__) != 0)
#define __all_sync(mask, p) (cuda_host::ballot(mask, (p) == 0, __LINE__) == 0)

template <class T> __device__ inline T atomicAdd(T* p, std::type_identity_t<T> v) { return cuda_host::fetch_add(p, v); }
template <class T> __device__ inline T atomicMax(T* p, std::type_identity_t<T> v) { return cuda_host::fetch_max(p, v); }
template <class T> __device__ inline T atomicMin(T* p, std::type_identity_t<T> v) { return cuda_host::fetch_min(p, v); }
template <class T> __device__ inline T atomicExch(T* p, std::type_identity_t<T> v) { return cuda_host::exchange_with(p, v); }
template <class T> __device__ inline T atomicCAS(T* p, std::type_identity_t<T> expected, std::type_identity_t<T> v) {
    return cuda_host::compare_and_swap(p, expected, v);
}

template <class T> inline T __ldg(const T* p) { return *p; }
inline float __expf(float x) { return expf(x); }
inline float __logf(float x) { return logf(x); }
inline float __fdividef(float x, float y) { return x / y; }
inline float rsqrtf(float x) { return 1.f / sqrtf(x); }
inline float __frcp_rn(float x) { return 1.f / x; }
inline float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
// Not inlined, so that the compiler cannot join them to a fused multiply-add.
__attribute__((noinline)) inline float __fmul_rn(float x, float y) { return x * y; }
__attribute__((noinline)) inline float __fadd_rn(float x, float y) { return x + y; }
inline int __float_as_int(float x) { int i; std::memcpy(&i, &x, 4); return i; }
inline float __int_as_float(int i) { float x; std::memcpy(&x, &i, 4); return x; }
inline unsigned __float_as_uint(float x) { return (unsigned)__float_as_int(x); }
inline float __uint_as_float(unsigned i) { return __int_as_float((int)i); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __ffs(unsigned x) { return __builtin_ffs((int)x); }
inline int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
template <class T> inline T min(T a, T b) { return b < a ? b : a; }
template <class T> inline T max(T a, T b) { return a < b ? b : a; }
inline unsigned min(int a, unsigned b) { return min((unsigned)a, b); }
inline unsigned min(unsigned a, int b) { return min(a, (unsigned)b); }
inline unsigned max(int a, unsigned b) { return max((unsigned)a, b); }
inline unsigned max(unsigned a, int b) { return max(a, (unsigned)b); }

// Half precision: rounded to nearest even, computed in float.
struct __half {
    _Float16 value;
    __half() = default;
    __half(float x) : value((_Float16)x) {}
    operator float() const { return (float)value; }
};
struct __nv_bfloat16 {
    uint16_t bits;
    __nv_bfloat16() = default;
    __nv_bfloat16(float x) {
        unsigned u = __float_as_uint(x);
        bits = x != x ? 0x7fff : (uint16_t)((u + 0x7fff + ((u >> 16) & 1)) >> 16);
    }
    operator float() const { return __uint_as_float((unsigned)bits << 16); }
};
using half = __half;
inline float __half2float(__half x) { return x; }
inline __half __float2half(float x) { return x; }
inline float __bfloat162float(__nv_bfloat16 x) { return x; }
inline __nv_bfloat16 __float2bfloat16(float x) { return x; }

// Tensor cores.  Which lane holds which element is not said by CUDA; here it is unlike any hardware, so that no
// kernel comes to rely on it.
namespace nvcuda::wmma {
struct matrix_a;
struct matrix_b;
struct accumulator;
struct row_major;
struct col_major;
enum layout_t { mem_row_major, mem_col_major };

template <class Use, int M, int N, int K, class T, class Layout = void> struct fragment {
    static_assert(M == 16 && N == 16 && K == 16, "the host build knows the 16 × 16 × 16 shape");
    static constexpr int num_elements = 8;
    T x[8];
};
inline int element(int e) { return e * 32 + cuda_host::lane(); }

template <class F, class T> void fill_fragment(F& f, T value) { for (auto& x : f.x) x = value; }

template <class Use, class T, class Layout>
void load_matrix_sync(fragment<Use, 16, 16, 16, T, Layout>& f, const T* p, unsigned stride) {
    cuda_host::sync_warp(~0u, __LINE__);
    for (int e = 0; e < 8; ++e) {
        int row = element(e) / 16, column = element(e) % 16;
        f.x[e] = std::is_same_v<Layout, col_major> ? p[column * stride + row] : p[row * stride + column];
    }
}
template <class T>
void load_matrix_sync(fragment<accumulator, 16, 16, 16, T>& f, const T* p, unsigned stride, layout_t layout) {
    cuda_host::sync_warp(~0u, __LINE__);
    for (int e = 0; e < 8; ++e) {
        int row = element(e) / 16, column = element(e) % 16;
        f.x[e] = layout == mem_col_major ? p[column * stride + row] : p[row * stride + column];
    }
}
template <class T>
void store_matrix_sync(T* p, const fragment<accumulator, 16, 16, 16, T>& f, unsigned stride, layout_t layout) {
    cuda_host::sync_warp(~0u, __LINE__);
    for (int e = 0; e < 8; ++e) {
        int row = element(e) / 16, column = element(e) % 16;
        (layout == mem_col_major ? p[column * stride + row] : p[row * stride + column]) = f.x[e];
    }
}
template <class TC, class TA, class LA, class TB, class LB>
void mma_sync(fragment<accumulator, 16, 16, 16, TC>& d, const fragment<matrix_a, 16, 16, 16, TA, LA>& a,
              const fragment<matrix_b, 16, 16, 16, TB, LB>& b, const fragment<accumulator, 16, 16, 16, TC>& c) {
    float fa[8], fb[8], fc[8];
    for (int e = 0; e < 8; ++e) fa[e] = (float)a.x[e], fb[e] = (float)b.x[e], fc[e] = (float)c.x[e];
    cuda_host::multiply_16x16x16(fa, fb, fc, __LINE__);
    for (int e = 0; e < 8; ++e) d.x[e] = fc[e];
}
}  // namespace nvcuda::wmma

namespace cuda_host {

template <> struct code<float> { static constexpr const char* value = "f"; };
template <> struct code<double> { static constexpr const char* value = "d"; };
template <> struct code<__half> { static constexpr const char* value = "e"; };
template <> struct code<__nv_bfloat16> { static constexpr const char* value = "E"; };
template <> struct code<bool> { static constexpr const char* value = "?"; };
template <> struct code<unsigned char> { static constexpr const char* value = "B"; };
template <> struct code<int> { static constexpr const char* value = "i"; };
template <> struct code<unsigned> { static constexpr const char* value = "I"; };
template <> struct code<long> { static constexpr const char* value = "q"; };
template <> struct code<long long> { static constexpr const char* value = "q"; };

template <class A> const char* letters() {
    if constexpr (std::is_pointer_v<A>) {
        using To = std::remove_pointer_t<A>;
        static const char spelled[] = {'p', std::is_const_v<To> ? 'c' : 'm', code<std::remove_const_t<To>>::value[0], 0};
        return spelled;
    } else {
        return code<A>::value;
    }
}

struct Kernel {
    const char* name;
    int threads;                                      // that __launch_bounds__ allows
    char *shared_begin, *shared_end;                  // its __shared__ variables
    const char* parameters[64];                       // ended by null
    void (*call)(void (*)(), void**);
    void (*function)();
};

#define CUDA_HOST_UNCHECKED __attribute__((no_sanitize("thread", "undefined")))
template <class... A, size_t... I>
CUDA_HOST_UNCHECKED void spread(void (*function)(A...), void** args, std::index_sequence<I...>) {
    function(*(std::remove_reference_t<A>*)args[I]...);
}
template <class... A> Kernel kernel(const char* name, void (*function)(A...), int threads, char* begin, char* end) {
    static_assert(sizeof...(A) < 64);
    return {name, threads, begin, end, {letters<A>()..., nullptr},
            [](void (*f)(), void** args) CUDA_HOST_UNCHECKED {
                spread((void (*)(A...))f, args, std::index_sequence_for<A...>{});
            },
            (void (*)())function};
}

extern const Kernel kernels[];                        // ended by a null name; written by the build
}  // namespace cuda_host
