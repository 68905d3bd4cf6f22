/* shard: one event loop on its own thread, with its hub, its listeners and its connections. Shards
 * share the limits and the certificate, nothing else. */
#ifndef PIPIT_CONNECTION_SHARD_H
#define PIPIT_CONNECTION_SHARD_H

#include "services/connection/listener.h"

enum { PORT_WS, PORT_WSS, PORT_MQTT, PORT_MQTTS, PORT_COUNT };
struct shard_ports {
    struct listen_address addresses[PORT_COUNT];
    bool open[PORT_COUNT];
    struct tls_context *tls; /* of WSS and MQTTS */
};

struct shard;
/* Everything but the thread. `index` names it in logs. */
enum err shard_create(size_t index, const struct connection_settings *settings,
                      struct limits *limits, const struct shard_ports *ports,
                      struct shard **out) MUST_CHECK;
enum err shard_start(struct shard *shard) MUST_CHECK;
/* Main thread. on_done is called on the shard's thread, once; the thread then ends. */
void shard_drain(struct shard *shard, uint64_t per_second, uint64_t allowed_us,
                 void (*on_done)(void *user), void *user);
struct hub *shard_hub(struct shard *shard);
/* Stops the thread and frees everything. NULL inside is accepted. */
void shard_destroy(struct shard **shard);

#endif
