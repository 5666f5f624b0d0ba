# add_module(NAME SEES ... SOURCES ... LIBS ...): a part of shoal. SEES is the architecture: the
# modules whose public headers (include/MODULE) it can include. base is seen by all.
function(add_module name)
  cmake_parse_arguments(M "" "" "SEES;SOURCES;LIBS" ${ARGN})
  list(TRANSFORM M_SEES PREPEND ${PROJECT_SOURCE_DIR}/include/ OUTPUT_VARIABLE sees_dirs)
  add_library(${name} STATIC ${M_SOURCES})
  target_include_directories(${name}
    PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}
    PUBLIC ${PROJECT_SOURCE_DIR}/include/base ${PROJECT_SOURCE_DIR}/include/${name} ${sees_dirs})
  set(deps ${M_SEES})
  if(NOT name STREQUAL base)
    list(APPEND deps base)
  endif()
  # Linking is transitive, seeing is not: $<LINK_ONLY> hands on libraries without their headers.
  list(TRANSFORM deps REPLACE "(.+)" "$<LINK_ONLY:\\1>")
  target_link_libraries(${name} PRIVATE house ${M_LIBS} Threads::Threads ${deps})
endfunction()
