# farfield_room(NAME [USES room...] [LIBS target...]) makes the static library farfield_NAME from the
# folder's sources and test_NAME from its *.test.cpp. A technique's NAME is techniques/<name>, a service's
# services/<name>; a room inside another has a row of its own in the table, or obeys the outer one's.

include(${CMAKE_CURRENT_LIST_DIR}/layers.cmake)

function(farfield_room name)
  cmake_parse_arguments(ROOM "" "" "USES;LIBS;TEST_LIBS" ${ARGN})
  string(REPLACE "/" "_" target ${name})
  set(row ${name})
  if(NOT DEFINED FARFIELD_MAY_USE_${row})
    string(REGEX REPLACE "/.*" "" row ${name})
  endif()
  foreach(used IN LISTS ROOM_USES)
    if(NOT used IN_LIST FARFIELD_MAY_USE_${row})
      message(FATAL_ERROR "room ${name} must not use ${used}; cmake/layers.cmake allows: ${FARFIELD_MAY_USE_${row}}")
    endif()
  endforeach()

  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cpp)
  set(tests ${sources})
  list(FILTER tests INCLUDE REGEX "\\.test\\.cpp$")
  list(FILTER sources EXCLUDE REGEX "\\.(test|bench|fuzz)\\.cpp$")
  list(FILTER sources EXCLUDE REGEX "/kernels_cpu[a-z_]*\\.cpp$|\\.isa\\.cpp$") # added by farfield_isa_sources
  if(NOT sources)
    set(sources ${PROJECT_SOURCE_DIR}/cmake/empty.cpp)
  endif()
  add_library(farfield_${target} STATIC ${sources})
  add_library(farfield::${target} ALIAS farfield_${target})
  list(TRANSFORM ROOM_USES REPLACE "/" "_")
  list(TRANSFORM ROOM_USES PREPEND farfield::)
  target_link_libraries(farfield_${target} PUBLIC farfield_flags ${ROOM_USES} ${ROOM_LIBS})
  set_property(GLOBAL APPEND PROPERTY FARFIELD_ROOM_TARGETS farfield_${target})
  if(tests AND FARFIELD_TESTS)
    add_executable(test_${target} ${tests})
    target_link_libraries(test_${target} PRIVATE farfield_${target} ${ROOM_TEST_LIBS} GTest::gtest_main)
    farfield_register_test(test_${target})
  endif()
endfunction()

# farfield_isa_sources(target file...) compiles each file once per instruction set level, with
# FARFIELD_ISA_NAMESPACE = v2 | v3 | v4 around its code. Such files include only small headers: an inline
# function compiled for AVX-512 could otherwise be the copy that the linker keeps for everybody.
# Options of linked libraries come last on the command line, in the order of linking: as a library linked after
# farfield_flags, the level's -march is the one that counts.
foreach(level v2 v3 v4)
  add_library(farfield_isa_${level} INTERFACE)
  target_compile_options(farfield_isa_${level} INTERFACE -O3 -march=x86-64-${level} -fno-math-errno -fno-trapping-math
                                                         -ffp-contract=fast -fno-semantic-interposition)
endforeach()
# g++ 12 takes the "undefined" vectors inside its own AVX-512 headers for mistakes (GCC bug 105593).
target_compile_options(farfield_isa_v4 INTERFACE -mprefer-vector-width=512 -Wno-uninitialized $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)

function(farfield_isa_sources target)
  foreach(level v2 v3 v4)
    add_library(${target}_${level} OBJECT ${ARGN})
    target_include_directories(${target}_${level} PRIVATE $<TARGET_PROPERTY:${target},INCLUDE_DIRECTORIES>)
    target_compile_definitions(${target}_${level} PRIVATE FARFIELD_ISA_NAMESPACE=${level})
    target_link_libraries(${target}_${level} PRIVATE farfield_flags farfield_isa_${level})
    target_sources(${target} PRIVATE $<TARGET_OBJECTS:${target}_${level}>)
  endforeach()
endfunction()

# Registers a GoogleTest program as one ctest test, run in the repository root. Its cases are written to
# results/<target>.xml in the build folder, from where test.sh counts them.
function(farfield_register_test target)
  add_test(NAME ${target} COMMAND ${target} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
  set_tests_properties(${target} PROPERTIES TIMEOUT 600
                       ENVIRONMENT "GTEST_OUTPUT=xml:${PROJECT_BINARY_DIR}/results/${target}.xml")
endfunction()

# The same program under mpirun with RANKS processes; counts as one test. Only where MPI is built in.
function(farfield_register_mpi_test target ranks)
  if(FARFIELD_WITH_MPI)
    add_test(NAME ${target}_mpi${ranks} COMMAND mpirun --allow-run-as-root --oversubscribe -np ${ranks} $<TARGET_FILE:${target}>
             WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
    set_tests_properties(${target}_mpi${ranks} PROPERTIES TIMEOUT 600 PROCESSORS ${ranks})
  endif()
endfunction()
