# libraries: what shoal builds on, all from the distribution's packages (tools/packages lists them).
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
foreach(spec "event:libevent_core" "event_extra:libevent_extra" "event_pthreads:libevent_pthreads"
             "sqlite:sqlite3" "curl:libcurl" "crypto:libcrypto" "zstd:libzstd" "lz4:liblz4"
             "zlib:zlib" "ssl:libssl" "msgpack:msgpack" "jansson:jansson" "yaml:yaml-0.1" "fuse:fuse3"
             "ncurses:ncursesw")
  string(REPLACE ":" ";" spec "${spec}")
  list(GET spec 0 name)
  list(GET spec 1 package)
  pkg_check_modules(${name} REQUIRED IMPORTED_TARGET ${package})
endforeach()

# BLAKE3: the reference C and assembly, from the system's library or from the sources that Debian ships.
pkg_check_modules(blake3 IMPORTED_TARGET libblake3)
if(NOT blake3_FOUND)
  file(GLOB BLAKE3_DIR /usr/share/cargo/registry/blake3-*/c)
  if(NOT BLAKE3_DIR)
    message(FATAL_ERROR "BLAKE3 not found: install librust-blake3-dev (or libblake3-dev)")
  endif()
  list(GET BLAKE3_DIR -1 BLAKE3_DIR)
  set(sources blake3.c blake3_dispatch.c blake3_portable.c)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    list(APPEND sources blake3_sse2_x86-64_unix.S blake3_sse41_x86-64_unix.S
         blake3_avx2_x86-64_unix.S blake3_avx512_x86-64_unix.S)
  elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64")
    list(APPEND sources blake3_neon.c)
  endif()
  list(TRANSFORM sources PREPEND ${BLAKE3_DIR}/)
  add_library(blake3 STATIC ${sources})
  target_include_directories(blake3 SYSTEM PUBLIC ${BLAKE3_DIR})
  target_compile_options(blake3 PRIVATE -O3)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64")
    target_compile_definitions(blake3 PRIVATE BLAKE3_USE_NEON=1)
  endif()
  add_library(PkgConfig::blake3 ALIAS blake3)
endif()
