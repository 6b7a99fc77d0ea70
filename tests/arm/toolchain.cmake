# Cross-compilation of medge._native for aarch64; MEDGE_ARM_ROOT names a folder with its headers.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_CXX_COMPILER "$ENV{CXX_ARM}")
# The compiler brings its own C library; only what it lacks, Python's headers, is taken from there.
set(CMAKE_CXX_FLAGS_INIT "-idirafter $ENV{MEDGE_ARM_ROOT}/usr/include")
