# The units with device code, relative to this folder: for nvcc, and for the emulator of tests/emulation.
set(NNQFT_CUDA_SOURCES core/random.cu
  ensemble/ensemble.cpp ensemble/forward.cu ensemble/moment_units.cpp ensemble/moments.cu ensemble/plan.cpp ensemble/shallow.cu
  lanczos/csr.cu lanczos/lanczos.cu
  nets/fold.cu nets/hessian.cu nets/passes.cu nets/product.cu
  wick/hafnian_sieve.cu wick/sieve_plan.cpp wick/small_batch.cu wick/moments.cu wick/moment_tables.cpp wick/all_multisets.cu wick/hafnian_multisets.cu)
# Translation from Python, without device code.
set(NNQFT_CUDA_BINDINGS bindings/module.cpp bindings/core.cpp bindings/ensemble.cpp bindings/wick.cpp bindings/lanczos.cpp ../csrc/nets/network.cpp)
