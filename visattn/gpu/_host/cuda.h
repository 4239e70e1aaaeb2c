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
#define __device__
#define __host__
#define __constant__ static const
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
#define __shared__ static __attribute__((section("cuda_shared")))

struct uint3 { unsigned x, y, z; };
struct dim3 { unsigned x = 1, y = 1, z = 1; };
struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) int2 { int x, y; };
struct alignas(16) int4 { int x, y, z, w; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline int2 make_int2(int x, int y) { return {x, y}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }

namespace cuda_host {

uint3 thread_idx();
uint3 block_idx();
dim3 block_dim();
dim3 grid_dim();
int lane();
char* dynamic_shared();

enum class Vote { none, count, all, any };
int sync_block(Vote vote, int predicate, int line);
void sync_warp(unsigned mask, int line);
uint64_t exchange(unsigned mask, uint64_t value, int source, int line);      // a shuffle: no fence
unsigned ballot(unsigned mask, int predicate, int line);
void multiply_16x16x16(const float* a, const float* b, float* c, int line);  // 8 elements of each from every lane
void atomic_access(const volatile void* address, size_t size);               // a checked build looks at it

template <class T> T shuffle(unsigned mask, T value, int source, int line) {
    static_assert(sizeof(T) <= 8, "a shuffle moves at most 8 bytes");
    uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof(T));
    bits = exchange(mask, bits, source, line);
    std::memcpy(&value, &bits, sizeof(T));
    return value;
}

// Uninstrumented and whole: fibers never run at once.
#define CUDA_HOST_ATOMIC template <class T> __attribute__((noinline, no_sanitize("thread"))) T
CUDA_HOST_ATOMIC fetch_add(T* p, T v) { atomic_access(p, sizeof(T)); T old = *p; *p = old + v; return old; }
CUDA_HOST_ATOMIC fetch_max(T* p, T v) { atomic_access(p, sizeof(T)); T old = *p; if (v > old) *p = v; return old; }
CUDA_HOST_ATOMIC fetch_min(T* p, T v) { atomic_access(p, sizeof(T)); T old = *p; if (v < old) *p = v; return old; }
CUDA_HOST_ATOMIC exchange_with(T* p, T v) { atomic_access(p, sizeof(T)); T old = *p; *p = v; return old; }
CUDA_HOST_ATOMIC compare_and_swap(T* p, T expected, T v) {
    atomic_access(p, sizeof(T));
    T old = *p;
    if (old == expected) *p = v;
    return old;
}

// The types of a kernel's parameters, one letter each: "c" const and "p" pointer before what it points to.
template <class T> struct code { static_assert(sizeof(T) == 0, "a kernel cannot take an argument of this type"); };

}  // namespace cuda_host

#define threadIdx (cuda_host::thread_idx())
#define blockIdx (cuda_host::block_idx())
#define blockDim (cuda_host::block_dim())
#define gridDim (cuda_host::grid_dim())
#define warpSize 32

#define __syncthreads() ((void)cuda_host::sync_block(cuda_host::Vote::none, 0, __LINE__))
#define __syncthreads_count(p) cuda_host::sync_block(cuda_host::Vote::count, (p) != 0, __LINE__)
#define __syncthreads_and(p) cuda_host::sync_block(cuda_host::Vote::all, (p) != 0, __LINE__)
#define __syncthreads_or(p) cuda_host::sync_block(cuda_host::Vote::any, (p) != 0, __LINE__)
#define CUDA_HOST_SYNCWARP(mask, ...) cuda_host::sync_warp(mask, __LINE__)
#define __syncwarp(...) CUDA_HOST_SYNCWARP(__VA_ARGS__ __VA_OPT__(,) 0xffffffffu)
#define __shfl_sync(mask, value, source) cuda_host::shuffle(mask, value, (int)(source), __LINE__)
#define __shfl_xor_sync(mask, value, bits) cuda_host::shuffle(mask, value, cuda_host::lane() ^ (int)(bits), __LINE__)
#define __shfl_down_sync(mask, value, by) cuda_host::shuffle(mask, value, cuda_host::lane() + (int)(by), __LINE__)
#define __shfl_up_sync(mask, value, by) cuda_host::shuffle(mask, value, cuda_host::lane() - (int)(by), __LINE__)
#define __ballot_sync(mask, p) cuda_host::ballot(mask, (p) != 0, __LINE__)
#define __any_sync(mask, p) (cuda_host::ballot(mask, (p) != 0, __LINE__) != 0)
#define __all_sync(mask, p) (cuda_host::ballot(mask, (p) == 0, __LINE__) == 0)

template <class T> inline T atomicAdd(T* p, std::type_identity_t<T> v) { return cuda_host::fetch_add(p, v); }
template <class T> inline T atomicMax(T* p, std::type_identity_t<T> v) { return cuda_host::fetch_max(p, v); }
template <class T> inline T atomicMin(T* p, std::type_identity_t<T> v) { return cuda_host::fetch_min(p, v); }
template <class T> inline T atomicExch(T* p, std::type_identity_t<T> v) { return cuda_host::exchange_with(p, v); }
template <class T> inline T atomicCAS(T* p, std::type_identity_t<T> expected, std::type_identity_t<T> v) {
    return cuda_host::compare_and_swap(p, expected, v);
}

template <class T> inline T __ldg(const T* p) { return *p; }
inline float __expf(float x) { return expf(x); }
inline float __logf(float x) { return logf(x); }
inline float __fdividef(float x, float y) { return x / y; }
inline float rsqrtf(float x) { return 1.f / sqrtf(x); }
inline float __frcp_rn(float x) { return 1.f / x; }
inline float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
inline int __float_as_int(float x) { int i; std::memcpy(&i, &x, 4); return i; }
inline float __int_as_float(int i) { float x; std::memcpy(&x, &i, 4); return x; }
inline unsigned __float_as_uint(float x) { return (unsigned)__float_as_int(x); }
inline float __uint_as_float(unsigned i) { return __int_as_float((int)i); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __ffs(unsigned x) { return __builtin_ffs((int)x); }
inline int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
template <class T> inline T min(T a, T b) { return b < a ? b : a; }
template <class T> inline T max(T a, T b) { return a < b ? b : a; }

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
    const char* parameters[64];                       // ended by null
    void (*call)(void (*)(), void**);
    void (*function)();
};

template <class... A, size_t... I> void spread(void (*function)(A...), void** args, std::index_sequence<I...>) {
    function(*(std::remove_reference_t<A>*)args[I]...);
}
template <class... A> Kernel kernel(const char* name, void (*function)(A...)) {
    static_assert(sizeof...(A) < 64);
    return {name, {letters<A>()..., nullptr},
            [](void (*f)(), void** args) { spread((void (*)(A...))f, args, std::index_sequence_for<A...>{}); },
            (void (*)())function};
}

extern const Kernel kernels[];                        // ended by a null name; written by the build
}  // namespace cuda_host
