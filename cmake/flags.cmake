# Warnings and hardening for all our code. Source: OpenSSF compiler options guide, 2026-06-30; flags the
# compiler at hand does not know (GCC 12 lacks -fstrict-flex-arrays=3) are left out by the check.
include(CheckCCompilerFlag)
include(CheckLinkerFlag)

add_compile_definitions(_GNU_SOURCE)
set(PIPIT_FLAGS
  -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wvla -Wformat=2 -Wimplicit-fallthrough
  -Wmissing-prototypes -Werror -Werror=format-security
  -fno-omit-frame-pointer -fno-strict-aliasing -fno-strict-overflow -fno-delete-null-pointer-checks
  -ftrivial-auto-var-init=zero -fstack-protector-strong -fstack-clash-protection
  -fstrict-flex-arrays=3 -fPIE)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
  list(APPEND PIPIT_FLAGS -mbranch-protection=standard)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  list(APPEND PIPIT_FLAGS -fcf-protection=full)
endif()
foreach(flag ${PIPIT_FLAGS})
  string(MAKE_C_IDENTIFIER "HAVE${flag}" known)
  check_c_compiler_flag(${flag} ${known})
  if(${known})
    add_compile_options(${flag})
  endif()
endforeach()
add_link_options(-pie -Wl,-z,relro,-z,now -Wl,-z,noexecstack -Wl,--as-needed)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_C_FLAGS_RELWITHDEBINFO "-O2 -g")

if(PIPIT_SANITIZE STREQUAL "address")
  add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=all)
  add_link_options(-fsanitize=address,undefined)
elseif(PIPIT_SANITIZE STREQUAL "thread")
  add_compile_options(-fsanitize=thread)
  add_link_options(-fsanitize=thread)
elseif(PIPIT_SANITIZE)
  message(FATAL_ERROR "PIPIT_SANITIZE is address or thread, not ${PIPIT_SANITIZE}")
else()
  add_compile_options(-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3)
endif()
if(PIPIT_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
