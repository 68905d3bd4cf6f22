/* settings: the configuration of the auth service; the table itself is settings.c. */
#ifndef PIPIT_AUTH_SETTINGS_H
#define PIPIT_AUTH_SETTINGS_H

#include "common/bus_settings.h"
#include "common/service.h"

struct auth_settings {
    struct service_settings service; /* first: see common/service.h */
    struct bus_settings bus;
    const char *listen;     /* REST */
    const char *bus_listen; /* base address: requests here, stream derived */
    uint64_t connections_max;
    uint64_t connections_per_address_max; /* 0 = unlimited */
    uint64_t body_bytes_max;
    uint64_t request_timeout_us, idle_timeout_us;
    uint64_t api_threads, api_queue_max;
    uint64_t hash_threads, hash_queue_max; /* threads 0 = two, or one on a single core */
    const char *trusted_proxies;           /* addresses and CIDR blocks */
    const char *issuer, *audience;         /* of access tokens */
    uint64_t access_lifetime_us, refresh_lifetime_us;
    uint64_t key_rotation_us;
    uint64_t key_margin_us; /* how long a cached key set may be out of date */
    const char *common_passwords_file;
    uint64_t login_failures_per_minute;             /* of one address for one user */
    uint64_t login_failures_per_address_per_minute; /* of one address for all users */
    uint64_t rate_entries_max;
    uint64_t devices_max; /* of one user; 0 = unlimited */
    bool open_registration, members_may_invite;
    const char *server_name, *ws_url, *mqtt_url; /* told to clients */
    const char *openapi_file;
};
extern const struct conf_row auth_conf_rows[];
extern const size_t auth_conf_row_count;

/* What the table's bounds cannot say: values that contradict each other. ERR_INVALID: `problem` has
 * one line that says what to change. */
enum err auth_settings_check(const struct auth_settings *settings, struct buf *problem) MUST_CHECK;

#endif
