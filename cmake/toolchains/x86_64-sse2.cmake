# Builds with this machine's compiler and runs what it builds on an emulated x86-64 without AVX.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR x86_64)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-x86_64;-cpu;qemu64)
