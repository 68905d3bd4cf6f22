/* list: a ring with a sentinel, so that insertion and removal have no special cases.
 *
 * The node lives in the caller's object: moving a connection from one state's list to another
 * cannot fail, and no object is in a state that nobody iterates. A node that is on no list has NULL
 * links; inserting a linked node or removing an unlinked one is a bug of ours and ends the process.
 * Which list a node is on is not recorded; removing it from the wrong one breaks the counts, so the
 * count is checked for underflow. */
#include "common/list.h"

#include "common/contract.h"

void list_init(struct list *list) {
    list->head.prev = &list->head;
    list->head.next = &list->head;
    list->count = 0;
}

static void insert_between(struct list *list, struct list_node *node, struct list_node *before,
                           struct list_node *after) {
    CONTRACT(node->next == NULL && node->prev == NULL);
    node->prev = before;
    node->next = after;
    before->next = node;
    after->prev = node;
    list->count++;
}

void list_push_back(struct list *list, struct list_node *node) {
    insert_between(list, node, list->head.prev, &list->head);
}

void list_push_front(struct list *list, struct list_node *node) {
    insert_between(list, node, &list->head, list->head.next);
}

void list_remove(struct list *list, struct list_node *node) {
    CONTRACT(node->next != NULL && node != &list->head && list->count > 0);
    node->prev->next = node->next;
    node->next->prev = node->prev;
    node->prev = NULL;
    node->next = NULL;
    list->count--;
}

struct list_node *list_first(const struct list *list) {
    return list->count > 0 ? list->head.next : NULL;
}

struct list_node *list_next(const struct list *list, const struct list_node *node) {
    return node->next != &list->head ? node->next : NULL;
}

struct list_node *list_pop_front(struct list *list) {
    struct list_node *node = list_first(list);
    if (node != NULL) {
        list_remove(list, node);
    }
    return node;
}
