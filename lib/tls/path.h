// SPDX-License-Identifier: MIT
#ifndef COILI_PATH_H
#define COILI_PATH_H

/*
 * path.h: a path from a leaf to an anchor, each link of which may be used.
 */

#include <stddef.h>
#include <stdint.h>

#include "cert.h"
#include "complaint.h"
#include "store.h"

/* The bounds of a search: what a peer sends must not cost more. */
#define COILI_PATH_DEPTH 6 /* certificates of the peer in a path */
#define COILI_PATH_SIGNATURES_MAX 32
#define COILI_PATH_STEPS_MAX 200    /* anchors that were read */
#define COILI_PATH_NAMES_MAX 250000 /* comparisons for name constraints */

/* What is searched, and what has been found. */
struct coili_path {
    /* Set by the caller. */
    const struct coili_cert *certs; /* of the peer; the first is the leaf */
    size_t certs_n;                 /* 1 to COILI_CHAIN_MAX */
    struct coili_anchors *anchors;
    int64_t now;
    unsigned purpose; /* COILI_PURPOSE_SERVER or _CLIENT */
    struct coili_complaint *complaint;

    /* Found: the path, leaf first, and the anchor behind it. */
    const struct coili_cert *links[COILI_PATH_DEPTH];
    size_t n;
    struct coili_anchor anchor; /* freed by coili_path_fini() */
    int64_t not_after;          /* the earliest end of all of these */

    /* Private: what is left of the bounds. */
    unsigned signatures, steps, names;
    uint32_t used; /* bits of certs[] that stand in links[] */
};

/*
 * Find a path. The leaf itself is checked like every other certificate in what
 * all have in common; what is asked of leaves alone is the caller's matter.
 *
 * Result    0
 * Errors    COIL_ECERT: there is none, and `complaint` says why; -ENOMEM, or
 *           that of reading the store
 */
int coili_path_find(struct coili_path *path);
void coili_path_fini(struct coili_path *path);

/*
 * What all certificates must be, whatever their place: a key and, unless it is
 * an anchor, a signature of a known and strong kind, no unknown critical
 * extension, the purpose, and the time.
 *
 * Result    0, or COIL_ECERT and `complaint` says why
 */
int coili_cert_check(const struct coili_cert *cert, enum coili_cert_part part,
                     int64_t now, unsigned purpose,
                     struct coili_complaint *complaint);

#endif
