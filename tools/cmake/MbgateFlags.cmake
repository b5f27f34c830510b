# SPDX-License-Identifier: MIT
# Compiler and linker flags for every target, and the switches of the presets.

option(MBGATE_WERROR "Warnings are errors (the presets set it; packagers do not want it)" OFF)
option(MBGATE_FUZZ "Build the libFuzzer targets (clang only)" OFF)
option(MBGATE_COVERAGE "Instrument for gcov" OFF)
option(MBGATE_ANALYZER "Run gcc -fanalyzer on every file" OFF)
set(MBGATE_SANITIZE "" CACHE STRING "Value for -fsanitize=, empty for none")

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

add_compile_definitions(_GNU_SOURCE _FILE_OFFSET_BITS=64 _TIME_BITS=64)
add_compile_options(
  -Wall -Wextra -Wconversion -Wshadow -Wformat=2 -Wundef -Wstrict-prototypes -Wmissing-prototypes -Wvla
  -Wcast-qual -Wpointer-arith -Wwrite-strings -Wnull-dereference -Wdouble-promotion
  -fno-common -fstack-protector-strong -ffunction-sections -fdata-sections)
add_link_options(-Wl,--gc-sections)

if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
  add_compile_options(-Wimplicit-fallthrough=5 -Wduplicated-cond -Wlogical-op)
else()
  add_compile_options(-Wimplicit-fallthrough)
endif()
if(MBGATE_WERROR)
  add_compile_options(-Werror)
endif()
if(CMAKE_BUILD_TYPE STREQUAL "Release" AND NOT CMAKE_C_FLAGS MATCHES "_FORTIFY_SOURCE")
  add_compile_options(-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
endif()
if(MBGATE_SANITIZE)
  add_compile_options(-fsanitize=${MBGATE_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${MBGATE_SANITIZE})
endif()
if(MBGATE_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
if(MBGATE_COVERAGE)
  add_compile_options(--coverage -fprofile-update=atomic)
  add_link_options(--coverage)
endif()
if(MBGATE_ANALYZER)
  add_compile_options(-fanalyzer)
endif()
