# The instruction sets, and flatstep_add_kernels(), which gives a target the kernels of all of them
# to choose from at run time. This file sits beside the sources that it compiles, in the source
# tree and in the installed package alike.
include_guard(GLOBAL)

include(CheckCXXSourceCompiles)

# flatstep_instruction_sets(<list>): the sets of targets.cmake that this compiler can build for this
# machine's kind, in <list>, best first. For each NAME there are its compiler flags in <list>_NAME, in
# <list>_NAME_runs_here the C++ condition that says whether a machine has it, and in
# <list>_NAME_anywhere whether every compiler can build it. A set can be built where the compiler takes
# its flags and then predefines its macros; so one table serves every architecture.
function(flatstep_instruction_sets list)
  set(found "")
  include(${CMAKE_CURRENT_FUNCTION_LIST_DIR}/targets.cmake)
  set(${list} "${found}" PARENT_SCOPE)
  foreach(set IN LISTS found)
    set(${list}_${set} "${${set}_flags}" PARENT_SCOPE)
    set(${list}_${set}_runs_here "${${set}_runs_here}" PARENT_SCOPE)
    set(${list}_${set}_anywhere ${${set}_anywhere} PARENT_SCOPE)
  endforeach()
endfunction()

# A line of targets.cmake, for flatstep_instruction_sets: appends to `found` in the caller's scope.
function(flatstep_target name)
  cmake_parse_arguments(PARSE_ARGV 1 target "" "WHERE" "FLAGS")
  string(TOUPPER FLATSTEP_BUILDS_${name} builds)
  list(JOIN target_FLAGS " " CMAKE_REQUIRED_FLAGS)
  check_cxx_source_compiles(
    "#if !(${target_WHERE})\n#error\n#endif\nint main() { return 0; }\n" ${builds})
  if(NOT ${builds})
    return()
  endif()
  set(runs_here "")
  foreach(flag IN LISTS target_FLAGS)
    if(NOT flag MATCHES "^-m([a-z0-9.]+)$")
      message(FATAL_ERROR "flatstep_target(${name}): expected flags -m<feature>, got ${flag}")
    endif()
    list(APPEND runs_here "__builtin_cpu_supports(\"${CMAKE_MATCH_1}\")")
  endforeach()
  list(JOIN runs_here " && " runs_here)
  if(NOT runs_here)
    set(runs_here true)
  endif()
  set(found ${found} ${name} PARENT_SCOPE)
  set(${name}_flags "${target_FLAGS}" PARENT_SCOPE)
  set(${name}_runs_here "${runs_here}" PARENT_SCOPE)
  string(COMPARE EQUAL "${target_WHERE}" 1 anywhere)
  set(${name}_anywhere ${anywhere} PARENT_SCOPE)
endfunction()

# flatstep_add_kernels(<target>): links flatstep::flatstep and the kernels of every instruction set
# into <target>, and defines FLATSTEP_RUNTIME_KERNELS for it and for what links to it.
function(flatstep_add_kernels target)
  flatstep_make_kernels()
  get_property(kernels GLOBAL PROPERTY flatstep_kernels)
  foreach(library IN LISTS kernels)
    target_sources(${target} PRIVATE $<TARGET_OBJECTS:${library}>)
  endforeach()
  target_link_libraries(${target} PUBLIC flatstep::flatstep)
  if(MSVC AND CMAKE_CXX_COMPILER_ID STREQUAL "Clang" AND TARGET flatstep_kernels_avx2)
    # What asks the machine for its instruction sets is in Clang's own library, and clang-cl, unlike
    # clang, does not link that by itself.
    execute_process(
      COMMAND ${CMAKE_CXX_COMPILER} /clang:--rtlib=compiler-rt /clang:-print-libgcc-file-name
      OUTPUT_VARIABLE clang_library OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
    target_link_libraries(${target} PRIVATE ${clang_library})
  endif()
  target_compile_definitions(${target} PUBLIC FLATSTEP_RUNTIME_KERNELS)
endfunction()

# flatstep_make_kernels(): the kernels, once in a build tree, where it is first called. Each set is
# compiled as an object library flatstep_kernels_NAME with that set's flags alone;
# flatstep_kernels_dispatch picks one of them when the program runs, from the list that is written to
# flatstep_kernels/flatstep_targets.def in that tree. Building flatstep_kernels builds them all and
# nothing else.
function(flatstep_make_kernels)
  if(TARGET flatstep_kernels_dispatch)
    return()
  endif()
  flatstep_instruction_sets(sets)
  list(GET sets 0 best)
  set(ranked "")
  foreach(set IN LISTS sets)
    string(APPEND ranked "FLATSTEP_TARGET(${set}, ${sets_${set}_runs_here})\n")
    flatstep_add_kernel_library(${set} target.cpp)
    set(kernels flatstep_kernels_${set})
    target_compile_definitions(${kernels} PRIVATE
      FLATSTEP_TARGET=${set} FLATSTEP_TARGET_HEADER="flatstep/simd/${set}.hpp")
    target_compile_options(${kernels} PRIVATE ${sets_${set}})
    if(sets_${set}_anywhere AND NOT set STREQUAL best AND NOT MSVC)
      # Plain C++ beside a set of the machine's own is for tests only; optimised for speed it would
      # take longer to compile than all others together.
      target_compile_options(${kernels} PRIVATE $<$<NOT:$<CONFIG:Debug>>:-Os>)
    endif()
  endforeach()
  set(directory ${CMAKE_BINARY_DIR}/flatstep_kernels)
  file(CONFIGURE OUTPUT ${directory}/flatstep_targets.def CONTENT "${ranked}" @ONLY)
  flatstep_add_kernel_library(dispatch dispatch.cpp)
  target_include_directories(flatstep_kernels_dispatch PRIVATE ${directory})
  get_property(kernels GLOBAL PROPERTY flatstep_kernels)
  add_custom_target(flatstep_kernels)
  add_dependencies(flatstep_kernels ${kernels})
endfunction()

function(flatstep_add_kernel_library name source)
  set(kernels flatstep_kernels_${name})
  add_library(${kernels} OBJECT ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/${source})
  target_link_libraries(${kernels} PRIVATE flatstep::flatstep)
  target_compile_definitions(${kernels} PRIVATE FLATSTEP_RUNTIME_KERNELS)
  if(NOT MSVC)
    # Link-time optimisation may merge functions of two sets, and one set's code would then run
    # where only the other exists. An unset build type must not mean unoptimised kernels.
    target_compile_options(${kernels} PRIVATE -fno-lto -fno-math-errno $<$<CONFIG:>:-O2>)
  endif()
  set_target_properties(${kernels} PROPERTIES
    CXX_VISIBILITY_PRESET hidden
    VISIBILITY_INLINES_HIDDEN ON
    POSITION_INDEPENDENT_CODE ON
    INTERPROCEDURAL_OPTIMIZATION OFF)
  set_property(GLOBAL APPEND PROPERTY flatstep_kernels ${kernels})
endfunction()
