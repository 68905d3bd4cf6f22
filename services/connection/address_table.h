/* address_table: how many connections each client address has, over all threads of the process, so
 * that one machine cannot take all of them. */
#ifndef PIPIT_CONNECTION_ADDRESS_TABLE_H
#define PIPIT_CONNECTION_ADDRESS_TABLE_H

#include "common/err.h"
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct address_table;
struct address_entry; /* one address with at least one connection */

enum err address_table_create(struct address_table **out) MUST_CHECK;
/* All entries must have been left. NULL is accepted. */
void address_table_destroy(struct address_table **table);
/* Counts one more connection of peer's address: an IPv4 address (also IPv4-mapped), or the /64 of
 * an IPv6 one, because a single machine owns that many. ERR_FULL: count_max reached; ERR_NO_MEMORY;
 * *entry is untouched then. Other families share one entry. Any thread. */
enum err address_table_enter(struct address_table *table, const struct sockaddr *peer,
                             uint64_t count_max, struct address_entry **entry) MUST_CHECK;
/* Counts one less; *entry becomes NULL; NULL inside is accepted. Any thread. */
void address_table_leave(struct address_table *table, struct address_entry **entry);
/* Addresses with at least one connection. Any thread. */
size_t address_table_count(struct address_table *table);

#endif
