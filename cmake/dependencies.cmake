# Libraries, all from Debian 12 and 13 (scripts/install-packages.sh lists the packages).
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
pkg_check_modules(SODIUM REQUIRED IMPORTED_TARGET libsodium)
pkg_check_modules(LZ4 REQUIRED IMPORTED_TARGET liblz4)
pkg_check_modules(CRYPTO REQUIRED IMPORTED_TARGET libcrypto)
pkg_check_modules(SSL REQUIRED IMPORTED_TARGET libssl)
pkg_check_modules(MICROHTTPD REQUIRED IMPORTED_TARGET libmicrohttpd)
pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson)
pkg_check_modules(JWT REQUIRED IMPORTED_TARGET libjwt)
pkg_check_modules(SQLITE REQUIRED IMPORTED_TARGET sqlite3)
pkg_check_modules(MONGOC REQUIRED IMPORTED_TARGET libmongoc-1.0)
pkg_check_modules(PROTOBUF_C REQUIRED IMPORTED_TARGET libprotobuf-c)
pkg_check_modules(CMOCKA REQUIRED IMPORTED_TARGET cmocka)
find_library(NNG_LIBRARY nng REQUIRED) # Debian ships no .pc file for nng
find_program(PROTOC_C protoc-c REQUIRED)

set(PIPIT_LIBS_common PkgConfig::SODIUM PkgConfig::CRYPTO PkgConfig::MICROHTTPD PkgConfig::JANSSON
    ${NNG_LIBRARY} Threads::Threads)
set(PIPIT_LIBS_proto PkgConfig::PROTOBUF_C PkgConfig::LZ4 PkgConfig::CRYPTO)
set(PIPIT_LIBS_auth PkgConfig::JWT PkgConfig::JANSSON PkgConfig::SODIUM PkgConfig::CRYPTO)
set(PIPIT_LIBS_connection PkgConfig::SSL PkgConfig::CRYPTO PkgConfig::SODIUM)
set(PIPIT_LIBS_routing PkgConfig::SODIUM)
set(PIPIT_LIBS_storage PkgConfig::SQLITE PkgConfig::MONGOC PkgConfig::LZ4 PkgConfig::SODIUM)
