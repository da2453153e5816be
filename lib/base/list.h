// SPDX-License-Identifier: MIT
#ifndef COILI_LIST_H
#define COILI_LIST_H

/*
 * list.h: an intrusive, circular, doubly linked list.
 *
 *     head <-> a <-> b <-> head
 *
 * Head and link have one type. An empty head points at itself. A link that is
 * in no list is zero, and removing it again does nothing.
 */

#include <stdbool.h>
#include <stddef.h>

struct coili_list {
    struct coili_list *next, *prev;
};

#define COILI_CONTAINER(ptr, type, member) \
    ((type *)(void *)((char *)(ptr) - offsetof(type, member)))

static inline void coili_list_init(struct coili_list *head)
{
    head->next = head->prev = head;
}

static inline bool coili_list_empty(const struct coili_list *head)
{
    return head->next == head;
}

static inline bool coili_list_linked(const struct coili_list *link)
{
    return link->next != NULL;
}

/* Add `link` at the end. It must be in no list. */
static inline void coili_list_append(struct coili_list *head,
                                     struct coili_list *link)
{
    link->next = head;
    link->prev = head->prev;
    head->prev->next = link;
    head->prev = link;
}

static inline void coili_list_remove(struct coili_list *link)
{
    if (!link->next)
        return;
    link->next->prev = link->prev;
    link->prev->next = link->next;
    link->next = link->prev = NULL;
}

/* The first link, or NULL. */
static inline struct coili_list *coili_list_first(const struct coili_list *head)
{
    return head->next == head ? NULL : head->next;
}

#endif
