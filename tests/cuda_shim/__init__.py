"""A CPU stand-in for the GPU: the CUDA sources as they are, compiled as C++ and run block by block (see shim.cpp)."""
