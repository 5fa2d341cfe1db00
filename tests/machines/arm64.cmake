# Builds for arm64 with Debian's cross compiler against the packages in TRM_ROOT, and has tests
# run under qemu. OpenBLAS is taken where it lies: nothing has been configured there.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(TRM_ROOT $ENV{TRM_ROOT})
set(CMAKE_SYSROOT ${TRM_ROOT})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_LIBRARY_PATH /usr/lib/aarch64-linux-gnu/openblas-openmp)
set(ENV{PKG_CONFIG_LIBDIR} ${TRM_ROOT}/usr/lib/aarch64-linux-gnu/pkgconfig:${TRM_ROOT}/usr/share/pkgconfig)
set(ENV{PKG_CONFIG_SYSROOT_DIR} ${TRM_ROOT})
set(CMAKE_EXE_LINKER_FLAGS_INIT -Wl,-rpath-link,${TRM_ROOT}/usr/lib/aarch64-linux-gnu)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64 -L ${TRM_ROOT} -E
  LD_LIBRARY_PATH=/usr/lib/aarch64-linux-gnu/openblas-openmp)
