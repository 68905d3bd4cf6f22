/* bus_settings: the [bus] section, alike in every service: where the others are, and mutual TLS. */
#ifndef PIPIT_COMMON_BUS_SETTINGS_H
#define PIPIT_COMMON_BUS_SETTINGS_H

#include "common/conf.h"
#include <stddef.h>
#include <stdint.h>

struct bus_settings {
    const char *storage, *routing, *auth; /* discovery specifications (common/discovery.h) */
    uint64_t message_bytes_max;
    uint64_t timeout_us; /* per call */
    const char *tls_ca_file, *tls_cert_file, *tls_key_file;
};
#define BUS_CONF_ROWS(settings_type)                                                               \
    {"bus",                                                                                        \
     "storage",                                                                                    \
     CONF_TEXT,                                                                                    \
     offsetof(settings_type, bus.storage),                                                         \
     "tcp://127.0.0.1:7201",                                                                       \
     NULL,                                                                                         \
     NULL,                                                                                         \
     "Addresses of the storage instances: a comma-separated list; host names are "                 \
     "resolved to all their addresses every 2 s."},                                                \
        {"bus",                                                                                    \
         "routing",                                                                                \
         CONF_TEXT,                                                                                \
         offsetof(settings_type, bus.routing),                                                     \
         "tcp://127.0.0.1:7101",                                                                   \
         NULL,                                                                                     \
         NULL,                                                                                     \
         "Addresses of the routing instances."},                                                   \
        {"bus",                                                                                    \
         "auth",                                                                                   \
         CONF_TEXT,                                                                                \
         offsetof(settings_type, bus.auth),                                                        \
         "tcp://127.0.0.1:7301",                                                                   \
         NULL,                                                                                     \
         NULL,                                                                                     \
         "Addresses of the auth instances."},                                                      \
        {"bus",      "message_bytes_max",                                                          \
         CONF_BYTES, offsetof(settings_type, bus.message_bytes_max),                               \
         "8MiB",     "2MiB",                                                                       \
         "64MiB",    "Largest message between services."},                                         \
        {"bus",                                                                                    \
         "timeout",                                                                                \
         CONF_DURATION,                                                                            \
         offsetof(settings_type, bus.timeout_us),                                                  \
         "5s",                                                                                     \
         "100ms",                                                                                  \
         "60s",                                                                                    \
         "How long one service waits for another's answer before the outcome is unknown."},        \
        {"bus",                                                                                    \
         "tls_ca_file",                                                                            \
         CONF_TEXT,                                                                                \
         offsetof(settings_type, bus.tls_ca_file),                                                 \
         "",                                                                                       \
         NULL,                                                                                     \
         NULL,                                                                                     \
         "CA certificate (PEM) for tls+tcp:// addresses; with both next keys: mutual TLS."},       \
        {"bus",     "tls_cert_file",                                                               \
         CONF_TEXT, offsetof(settings_type, bus.tls_cert_file),                                    \
         "",        NULL,                                                                          \
         NULL,      "This service's certificate (PEM)."},                                          \
        {"bus", "tls_key_file", CONF_TEXT, offsetof(settings_type, bus.tls_key_file),              \
         "",    NULL,           NULL,      "This service's private key (PEM)."}

#endif
