/* auth: the parts of one auth process, made at start and shared by its threads. Each part guards
 * itself; the pointers do not change between start and stop. */
#ifndef PIPIT_AUTH_AUTH_H
#define PIPIT_AUTH_AUTH_H

#include "common/http.h"
#include "common/service.h"
#include "common/worker.h"
#include "services/auth/address.h"
#include "services/auth/ask.h"
#include "services/auth/common_passwords.h"
#include "services/auth/key_ring.h"
#include "services/auth/rate_limits.h"
#include "services/auth/revocation_feed.h"
#include "services/auth/settings.h"
#include <stdatomic.h>

struct keeper;
struct snapshot_server;
struct openapi;
struct attempt_feed;

struct auth {
    const struct auth_settings *settings;
    struct service *service;
    struct bus *bus;
    struct rpc *storage, *routing;
    struct ask_peers peers;
    struct address_proxies *proxies;
    struct common_passwords *common_passwords;
    struct rate_limits *limits;
    struct key_ring *keys;
    struct revocations *revocations;
    struct stream_publisher *publisher;
    struct revocation_feed *feed;
    struct attempt_feed *attempts;
    struct instance_streams *instances;
    struct snapshot_server *snapshots;
    struct openapi *openapi;
    struct keeper *keeper;
    struct worker_pool *api, *hash;
    struct http_server *http;
    atomic_bool draining;            /* new calls are refused */
    atomic_uint_fast64_t calls_open; /* REST calls not yet answered */
    struct loop_timer drain_poll;
};

/* The service's four functions (common/service.h). */
enum err auth_start(struct service *service, struct buf *problem);
void auth_drain(struct service *service);
void auth_stop(struct service *service);

#endif
