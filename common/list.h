/* list: intrusive doubly linked list; a node is on at most one list; never allocates, never fails.
 */
#ifndef PIPIT_COMMON_LIST_H
#define PIPIT_COMMON_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list_node {
    struct list_node *prev, *next; /* both NULL while on no list */
};
struct list {
    struct list_node head; /* sentinel */
    size_t count;
};

void list_init(struct list *list);
void list_push_back(struct list *list, struct list_node *node);
void list_push_front(struct list *list, struct list_node *node);
/* The node must be on this list. */
void list_remove(struct list *list, struct list_node *node);
/* First node or NULL. */
struct list_node *list_first(const struct list *list);
struct list_node *list_next(const struct list *list, const struct list_node *node);
struct list_node *list_pop_front(struct list *list);
static inline bool list_node_linked(const struct list_node *node) {
    return node->next != NULL;
}

#endif
