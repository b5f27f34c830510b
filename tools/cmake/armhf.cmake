# SPDX-License-Identifier: MIT
# Cross-building for 32-bit Arm (armhf) against a sysroot of Debian's packages; programs run under qemu-user.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR armv7l)

set(MBGATE_SYSROOT ${CMAKE_CURRENT_LIST_DIR}/../../build/sysroot-armhf CACHE PATH "Made by tools/make-sysroot armhf")
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES MBGATE_SYSROOT)
get_filename_component(CMAKE_SYSROOT ${MBGATE_SYSROOT} ABSOLUTE)
if(NOT EXISTS ${CMAKE_SYSROOT}/usr/include/stdio.h)
  message(FATAL_ERROR "${CMAKE_SYSROOT} is not a sysroot: run tools/make-sysroot armhf")
endif()

set(CMAKE_C_COMPILER arm-linux-gnueabihf-gcc)
set(CMAKE_LIBRARY_ARCHITECTURE arm-linux-gnueabihf)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)

# pkg-config must see the sysroot's libraries and none of this machine's.
set(ENV{PKG_CONFIG_DIR} "")
set(ENV{PKG_CONFIG_LIBDIR}
    "${CMAKE_SYSROOT}/usr/lib/arm-linux-gnueabihf/pkgconfig:${CMAKE_SYSROOT}/usr/share/pkgconfig")
set(ENV{PKG_CONFIG_SYSROOT_DIR} "${CMAKE_SYSROOT}")

# -L also redirects absolute paths that exist in the sysroot, which is why it holds libraries and headers only.
find_program(MBGATE_QEMU_ARM NAMES qemu-arm-static qemu-arm)
if(MBGATE_QEMU_ARM)
  set(CMAKE_CROSSCOMPILING_EMULATOR ${MBGATE_QEMU_ARM} -L ${CMAKE_SYSROOT})
endif()
