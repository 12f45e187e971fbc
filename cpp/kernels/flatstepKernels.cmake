# The instruction sets, and flatstep_add_kernels(), which gives a target the kernels of all of them
# to choose from at run time. This file sits beside the sources that it compiles, in the source
# tree and in the installed package alike.
include_guard(GLOBAL)

include(CheckCXXSourceCompiles)

# flatstep_instruction_sets(<list>): the sets that this compiler can build for this machine's kind,
# in <list>, and for each NAME its compiler flags in <list>_NAME. A set can be built where the
# compiler takes its flags and then predefines its macros; so one table serves every architecture.
function(flatstep_instruction_sets list)
  set(sets avx512 avx2 neon sse2 emulated)
  set(avx512_flags -mavx512f -mavx512dq -mavx512bw -mavx512vl -mavx2 -mfma)
  set(avx512_macros "__AVX512F__ && __AVX512DQ__ && __AVX512BW__ && __AVX512VL__ && __FMA__")
  set(avx2_flags -mavx2 -mfma)
  set(avx2_macros "__AVX2__ && __FMA__")
  set(neon_flags "")
  set(neon_macros "__aarch64__ && __ARM_NEON")
  set(sse2_flags "")
  set(sse2_macros "__x86_64__ || _M_X64")
  set(emulated_flags "")
  set(emulated_macros "1")

  set(found "")
  foreach(set IN LISTS sets)
    string(TOUPPER FLATSTEP_BUILDS_${set} builds)
    string(REPLACE ";" " " CMAKE_REQUIRED_FLAGS "${${set}_flags}")
    check_cxx_source_compiles(
      "#if !(${${set}_macros})\n#error\n#endif\nint main() { return 0; }\n" ${builds})
    if(${builds})
      list(APPEND found ${set})
      set(${list}_${set} "${${set}_flags}" PARENT_SCOPE)
    endif()
  endforeach()
  set(${list} "${found}" PARENT_SCOPE)
endfunction()

# flatstep_add_kernels(<target>): links flatstep::flatstep and the kernels of every instruction set
# into <target>, and defines FLATSTEP_RUNTIME_KERNELS for it and for what links to it.
#
# Each set is compiled once in a build tree, as an object library flatstep_kernels_NAME with that
# set's flags alone; flatstep_kernels_dispatch picks one of them when the program runs, and knows
# from FLATSTEP_HAS_NAME which there are.
function(flatstep_add_kernels target)
  if(NOT TARGET flatstep_kernels_dispatch)
    flatstep_instruction_sets(sets)
    foreach(set IN LISTS sets ITEMS dispatch)
      set(kernels flatstep_kernels_${set})
      add_library(${kernels} OBJECT ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/${set}.cpp)
      target_link_libraries(${kernels} PRIVATE flatstep::flatstep)
      target_compile_definitions(${kernels} PRIVATE FLATSTEP_RUNTIME_KERNELS)
      target_compile_options(${kernels} PRIVATE ${sets_${set}})
      if(NOT MSVC)
        # Link-time optimisation may merge functions of two sets, and one set's code would then run
        # where only the other exists. An unset build type must not mean unoptimised kernels.
        target_compile_options(${kernels} PRIVATE -fno-lto -fno-math-errno $<$<CONFIG:>:-O2>)
        if(set STREQUAL "emulated" AND NOT sets STREQUAL "emulated")
          # Beside a set of the machine's own it is for tests only; optimised for speed it would take
          # longer to compile than all others together.
          target_compile_options(${kernels} PRIVATE $<$<NOT:$<CONFIG:Debug>>:-Os>)
        endif()
      endif()
      set_target_properties(${kernels} PROPERTIES
        CXX_VISIBILITY_PRESET hidden
        VISIBILITY_INLINES_HIDDEN ON
        POSITION_INDEPENDENT_CODE ON
        INTERPROCEDURAL_OPTIMIZATION OFF)
      set_property(GLOBAL APPEND PROPERTY flatstep_kernels ${kernels})
    endforeach()
    list(TRANSFORM sets TOUPPER)
    list(TRANSFORM sets PREPEND FLATSTEP_HAS_)
    target_compile_definitions(flatstep_kernels_dispatch PRIVATE ${sets})
  endif()

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
