#pragma once

// The instruction sets that kernels are built for on a CPU, best first, as cmake/RaptIsa.cmake has
// them. The objects of each define the same names in a namespace of its own.

#if defined(__x86_64__)
#define RAPT_FOR_EACH_ISA(f, ...) f(avx512, __VA_ARGS__) f(avx2, __VA_ARGS__) f(scalar, __VA_ARGS__)
#define RAPT_FOR_EACH_NATIVE_ISA(f, ...) \
  f(avx512bf16, __VA_ARGS__) RAPT_FOR_EACH_ISA(f, __VA_ARGS__)
#elif defined(__aarch64__)
#define RAPT_FOR_EACH_ISA(f, ...) f(neon, __VA_ARGS__) f(scalar, __VA_ARGS__)
#else
#define RAPT_FOR_EACH_ISA(f, ...) f(scalar, __VA_ARGS__)
#endif

/// Those of the kernels of native bf16.
#if !defined(RAPT_FOR_EACH_NATIVE_ISA)
#define RAPT_FOR_EACH_NATIVE_ISA(f, ...) RAPT_FOR_EACH_ISA(f, __VA_ARGS__)
#endif

/// RAPT_FOR_EACH_ISA(RAPT_DECLARE, const Kernels kKernels) declares it in every namespace;
/// {RAPT_FOR_EACH_ISA(RAPT_ENTRY, kKernels)} is the table.
#define RAPT_DECLARE(isa, ...) \
  namespace isa {              \
  extern __VA_ARGS__;          \
  }
#define RAPT_ENTRY(isa, name) isa::name,
