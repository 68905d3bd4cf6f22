/* bus: messages between services, over nng, which no other file may include. Requests with replies
 * (REQ/REP) and publications (PUB/SUB); tcp://, tls+tcp:// and ipc:// addresses. A bus belongs to one
 * loop: every callback runs on that loop's thread (nng's own threads only enqueue and wake it).
 * What nng lacks is added here: no resending, receive limits on every socket, fast redial, peers
 * whose calls time out twice in a row are disconnected so that a dead machine is noticed. */
#ifndef PIPIT_COMMON_BUS_H
#define PIPIT_COMMON_BUS_H

#include "common/buf.h"
#include "common/loop.h"

struct bus;
struct bus_config {
    size_t message_bytes_max; /* larger messages close the pipe they came on */
    const char *tls_ca_file;  /* all three or none: mutual TLS for tls+tcp:// addresses */
    const char *tls_cert_file;
    const char *tls_key_file;
};
enum err bus_create(struct loop *loop, const struct bus_config *config, struct bus **out) MUST_CHECK;
/* Closes what can be closed; sockets themselves live as long as the process (nng traps). */
void bus_destroy(struct bus **bus);

/* An instance has one base address; its two sockets derive from it: tcp://host:P answers requests at
 * P and publishes at P+1; ipc://path at path.rep and path.pub. Writes the derived URL, NUL-terminated.
 * ERR_INVALID for anything else, ERR_TOO_LARGE. */
enum bus_url_kind { BUS_URL_REP, BUS_URL_PUB };
#define BUS_URL_BYTES 160
enum err bus_url_derive(const char *base, enum bus_url_kind kind, char url[BUS_URL_BYTES]) MUST_CHECK;

/* --- requests, answering side */
struct bus_server;
struct bus_request; /* one request being answered */
/* body is borrowed until bus_reply. Exactly one bus_reply must follow. */
typedef void (*bus_request_fn)(struct bus_request *request, const uint8_t *body, size_t body_bytes,
                               void *user);
/* `contexts` = requests that may be unanswered at once; more wait in their senders' TCP windows.
 * ERR_EXISTS: address in use. ERR_DENIED, ERR_IO. */
enum err bus_server_create(struct bus *bus, const char *url, uint32_t contexts,
                           bus_request_fn on_request, void *user, struct bus_server **out) MUST_CHECK;
/* Copies bytes, sends, frees the request. Any thread; never blocks; a dead peer is not an error. */
void bus_reply(struct bus_request *request, const void *bytes, size_t count);
void bus_server_close(struct bus_server **server); /* stops taking requests */

/* --- requests, asking side: one peer is one instance */
struct bus_peer;
/* status ERR_OK: body borrowed for the call. ERR_TIMEOUT: unknown outcome. ERR_CLOSED: the connection
 * was lost after sending: unknown outcome as well. */
typedef void (*bus_reply_fn)(enum err status, const uint8_t *body, size_t body_bytes, void *user);
typedef void (*bus_peer_fn)(struct bus_peer *peer, bool up, void *user);
/* Dials in the background, for ever. on_state may be NULL. `contexts` = calls in flight at once. */
enum err bus_peer_create(struct bus *bus, const char *url, uint32_t contexts, bus_peer_fn on_state,
                         void *user, struct bus_peer **out) MUST_CHECK;
/* Open calls end with ERR_CLOSED before this returns; no callback afterwards. */
void bus_peer_close(struct bus_peer **peer);
bool bus_peer_up(const struct bus_peer *peer);
uint32_t bus_peer_outstanding(const struct bus_peer *peer);
/* Copies bytes and sends. ERR_UNAVAILABLE: not connected; ERR_FULL: all contexts in use; nothing was
 * sent then and on_reply will not be called. Otherwise on_reply is called exactly once, later. */
enum err bus_call(struct bus_peer *peer, const void *bytes, size_t count, uint64_t timeout_us,
                  bus_reply_fn on_reply, void *user) MUST_CHECK;

/* --- publications. Lossy by nature: use common/stream on top. */
struct bus_publisher;
enum err bus_publisher_create(struct bus *bus, const char *url, struct bus_publisher **out) MUST_CHECK;
/* Copies; never blocks; drops the oldest of a slow subscriber in silence. Loop's thread. */
enum err bus_publish(struct bus_publisher *publisher, const void *bytes, size_t count) MUST_CHECK;
void bus_publisher_close(struct bus_publisher **publisher);

struct bus_subscriber;
typedef void (*bus_message_fn)(const uint8_t *bytes, size_t count, void *user); /* borrowed */
/* Receives what starts with one of the topics; dials in the background. */
enum err bus_subscriber_create(struct bus *bus, const char *url, bus_message_fn on_message,
                               void *user, struct bus_subscriber **out) MUST_CHECK;
enum err bus_subscribe(struct bus_subscriber *subscriber, const void *topic, size_t bytes) MUST_CHECK;
/* Drops the connection so that it is dialled afresh: for a publisher that fell silent. */
void bus_subscriber_redial(struct bus_subscriber *subscriber);
void bus_subscriber_close(struct bus_subscriber **subscriber);

#endif
