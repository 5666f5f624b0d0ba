# house: the flags that every target of shoal is compiled with.
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()

add_library(house INTERFACE)
target_compile_features(house INTERFACE c_std_11)
set(CMAKE_C_EXTENSIONS ON) # GNU dialect: Linux system calls and cleanup attributes
target_compile_definitions(house INTERFACE _GNU_SOURCE _FILE_OFFSET_BITS=64
                           SHOAL_VERSION="${PROJECT_VERSION}")
target_compile_options(house INTERFACE
  $<$<COMPILE_LANGUAGE:C>:-Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes
    -Wmissing-prototypes -Wformat=2 -Wundef -Wvla -Wcast-qual -Wwrite-strings -Wswitch-enum
    -Wnull-dereference -Werror -UNDEBUG -fno-common -fstack-protector-strong>
  $<$<C_COMPILER_ID:GNU>:-Wlogical-op -Wduplicated-cond>
  $<$<CONFIG:Release>:-D_FORTIFY_SOURCE=2>)

if(SHOAL_SANITIZE)
  target_compile_options(house INTERFACE -fsanitize=${SHOAL_SANITIZE} -fno-sanitize-recover=all
                         -fno-omit-frame-pointer)
  target_link_options(house INTERFACE -fsanitize=${SHOAL_SANITIZE})
  # These programs are large, and nobody is given them: the faster linker of binutils, where it has one.
  include(CheckLinkerFlag)
  check_linker_flag(C -fuse-ld=gold HAVE_GOLD)
  if(HAVE_GOLD)
    target_link_options(house INTERFACE -fuse-ld=gold)
  endif()
endif()
if(SHOAL_FUZZ)
  target_compile_options(house INTERFACE $<$<COMPILE_LANGUAGE:C>:-fsanitize=fuzzer-no-link>)
endif()
