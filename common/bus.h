/* bus: messages between services, over nng, which no other file may include. Requests with replies
 * (REQ/REP) and publications (PUB/SUB); tcp://, tls+tcp:// and ipc:// addresses. A bus belongs to
 * one loop: every callback runs on that loop's thread (nng's own threads only enqueue and wake it).
 * What nng lacks is added here: no resending, receive limits on every socket, fast redial, peers
 * whose calls time out twice in a row are disconnected so that a dead machine is noticed, unless
 * there is another sign of life. */
#ifndef PIPIT_COMMON_BUS_H
#define PIPIT_COMMON_BUS_H

#include "common/buf.h"
#include "common/loop.h"

/* With TLS both sides present a certificate that the CA signed; the listening side's certificate
 * must also carry this DNS name (subjectAltName), whatever address was dialled: addresses are pod
 * addresses that no certificate can list, and mbedTLS 3.6 refuses to connect without a name. */
#define BUS_TLS_NAME "pipit"

struct bus;
struct bus_config {
    size_t message_bytes_max; /* larger messages close the pipe they came on */
    const char *tls_ca_file;  /* PEM; all three or none (NULL or ""): mutual TLS for tls+tcp:// */
    const char *tls_cert_file;
    const char *tls_key_file;
};
/* Files are read here once. ERR_INVALID: one or two of the three, or not a certificate and its key;
 * ERR_NOT_FOUND, ERR_DENIED, ERR_IO: a file cannot be read; ERR_NO_MEMORY. */
enum err bus_create(struct loop *loop, const struct bus_config *config,
                    struct bus **out) MUST_CHECK;
/* Before the loop's end. Closes what can be closed; sockets themselves live as long as the process
 * (nng traps). Peers, servers, publishers and subscribers still open are closed: their handles are
 * invalid then. */
void bus_destroy(struct bus **bus);

/* An instance has one base address; its sockets derive from it: tcp://host:P answers requests at P,
 * publishes at P+1, and, where subscribers of its heartbeats alone are to be spared its
 * publications, sends those at P+2; ipc://path at path.rep, path.pub and path.pulse. Writes the
 * derived URL, NUL-terminated. ERR_INVALID for anything else, ERR_TOO_LARGE. */
enum bus_url_kind { BUS_URL_REP, BUS_URL_PUB, BUS_URL_PULSE };
#define BUS_URL_BYTES 160
enum err bus_url_derive(const char *base, enum bus_url_kind kind,
                        char url[BUS_URL_BYTES]) MUST_CHECK;

/* --- requests, answering side */
struct bus_server;
struct bus_request; /* one request being answered */
/* body is borrowed until bus_reply. Exactly one bus_reply must follow. */
typedef void (*bus_request_fn)(struct bus_request *request, const uint8_t *body, size_t body_bytes,
                               void *user);
/* `contexts` = requests that may be unanswered at once; more wait in their senders' TCP windows.
 * Listens on url as derived; tcp://0.0.0.0:P and tcp://[::]:P listen on all interfaces. An ipc path
 * left behind by a dead process is taken over. ERR_EXISTS: address in use. ERR_INVALID: not such a
 * URL, or tls+tcp:// without certificates. ERR_TOO_LARGE, ERR_DENIED, ERR_IO, ERR_NO_MEMORY. */
enum err bus_server_create(struct bus *bus, const char *url, uint32_t contexts,
                           bus_request_fn on_request, void *user,
                           struct bus_server **out) MUST_CHECK;
/* Copies bytes (they may lie in the request's body), sends, frees the request. Any thread; never
 * blocks; a dead peer is not an error. Also after bus_server_close and bus_destroy. A reply larger
 * than the asker's message_bytes_max ends its call with ERR_CLOSED. */
void bus_reply(struct bus_request *request, const void *bytes, size_t count);
/* Stops taking requests and closes the connections; requests not yet answered stay valid until
 * their bus_reply. */
void bus_server_close(struct bus_server **server);

/* --- requests, asking side: one peer is one instance */
struct bus_peer;
/* status ERR_OK: body borrowed for the call. ERR_TIMEOUT: unknown outcome. ERR_CLOSED: the
 * connection was lost: unknown outcome as well; it comes at once, behind on_state's `down`. */
typedef void (*bus_reply_fn)(enum err status, const uint8_t *body, size_t body_bytes, void *user);
typedef void (*bus_peer_fn)(struct bus_peer *peer, bool up, void *user);
/* Dials in the background, for ever. on_state may be NULL, and may close the peer. `contexts` =
 * calls in flight at once. ERR_INVALID, ERR_TOO_LARGE: url; ERR_NO_MEMORY. */
enum err bus_peer_create(struct bus *bus, const char *url, uint32_t contexts, bus_peer_fn on_state,
                         void *user, struct bus_peer **out) MUST_CHECK;
/* Open calls end with ERR_CLOSED before this returns; no callback afterwards. NULL is accepted. */
void bus_peer_close(struct bus_peer **peer);
bool bus_peer_up(const struct bus_peer *peer);
/* Gives the connection up and dials afresh, because the instance is silent although the kernel sees
 * nothing wrong: soon on_state says down and open calls end with ERR_CLOSED. A process that is
 * frozen is not up again before it wakes. No-op when not connected. */
void bus_peer_redial(struct bus_peer *peer);
/* Somebody else knows whether the instance lives (its heartbeats are heard): while is_alive says
 * so, calls that time out do not cost the connection; the instance is slow, and losing the
 * connection would end the calls that it is about to answer. NULL: nobody knows. */
void bus_peer_set_pulse(struct bus_peer *peer, bool (*is_alive)(void *user), void *user);
uint32_t bus_peer_outstanding(const struct bus_peer *peer);
/* Copies bytes and sends. ERR_UNAVAILABLE: not connected; ERR_FULL: all contexts in use;
 * ERR_TOO_LARGE, ERR_NO_MEMORY; nothing was sent then and on_reply will not be called. Otherwise
 * on_reply is called exactly once, later; it may call again and may close the peer. timeout_us > 0
 * counts in whole milliseconds, rounded up. */
enum err bus_call(struct bus_peer *peer, const void *bytes, size_t count, uint64_t timeout_us,
                  bus_reply_fn on_reply, void *user) MUST_CHECK;

/* --- publications. Lossy by nature: use common/stream on top. */
struct bus_publisher;
enum err bus_publisher_create(struct bus *bus, const char *url,
                              struct bus_publisher **out) MUST_CHECK;
/* Copies; never blocks; drops the oldest of a slow subscriber (1,024 messages behind) in silence.
 * Loop's thread. ERR_TOO_LARGE, ERR_NO_MEMORY. */
enum err bus_publish(struct bus_publisher *publisher, const void *bytes, size_t count) MUST_CHECK;
/* The same for a message in two parts, so that a header needs no buffer of its own. */
enum err bus_publish_parts(struct bus_publisher *publisher, const void *head, size_t head_bytes,
                           const void *body, size_t body_bytes) MUST_CHECK;
void bus_publisher_close(struct bus_publisher **publisher);

struct bus_subscriber;
typedef void (*bus_message_fn)(const uint8_t *bytes, size_t count, void *user); /* borrowed */
/* Receives what starts with one of the topics; dials in the background. on_message may close the
 * subscriber. */
enum err bus_subscriber_create(struct bus *bus, const char *url, bus_message_fn on_message,
                               void *user, struct bus_subscriber **out) MUST_CHECK;
/* Copies topic[bytes]; bytes 0 is everything. ERR_FULL beyond 64 topics: nng compares each message
 * with all of them. */
enum err bus_subscribe(struct bus_subscriber *subscriber, const void *topic,
                       size_t bytes) MUST_CHECK;
/* Drops the connection so that it is dialled afresh: for a publisher that fell silent. */
void bus_subscriber_redial(struct bus_subscriber *subscriber);
void bus_subscriber_close(struct bus_subscriber **subscriber);

#endif
