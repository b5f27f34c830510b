# SPDX-License-Identifier: MIT

# mbgate_layer(NAME SOURCES a.c b.c [LAYERS base codec] [LIBRARIES PkgConfig::X])
# One static library for a layer of src/. LAYERS are the layers below that it may include; LIBRARIES are foreign
# ones, linked privately because their headers appear in one .c only.
function(mbgate_layer NAME)
  cmake_parse_arguments(ARG "" "" "SOURCES;LAYERS;LIBRARIES" ${ARGN})
  add_library(mbgate_${NAME} STATIC ${ARG_SOURCES})
  target_include_directories(mbgate_${NAME} PUBLIC ${CMAKE_SOURCE_DIR}/include
                                            PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
  list(TRANSFORM ARG_LAYERS PREPEND mbgate_)
  target_link_libraries(mbgate_${NAME} PUBLIC ${ARG_LAYERS} PRIVATE ${ARG_LIBRARIES})
endfunction()

# mbgate_test(NAME SOURCES test_x.c [LAYERS codec] [LIBRARIES ...] [DEFINITIONS ...])
# A cmocka program, run by ctest under the label "unit". It links only the layers named (and those below).
function(mbgate_test NAME)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;LAYERS;LIBRARIES;DEFINITIONS" ${ARGN})
  add_executable(${NAME} ${ARG_SOURCES})
  list(TRANSFORM ARG_LAYERS PREPEND mbgate_)
  target_include_directories(${NAME} PRIVATE ${CMAKE_SOURCE_DIR}/tests/support)
  target_compile_definitions(${NAME} PRIVATE ${ARG_DEFINITIONS} MBGATE_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  target_link_libraries(${NAME} PRIVATE ${ARG_LAYERS} ${ARG_LIBRARIES} PkgConfig::CMOCKA)
  add_test(NAME ${NAME} COMMAND ${NAME})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  set_tests_properties(${NAME} PROPERTIES LABELS unit TIMEOUT ${ARG_TIMEOUT})
endfunction()
