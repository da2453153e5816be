// SPDX-License-Identifier: MIT
/*
 * path.c: a path from a leaf to an anchor.
 *
 * Servers send their certificates in any order, with some that do not belong
 * there, and with several for one authority (cross-signed). So the path is
 * searched: depth first, from the leaf upwards. An issuer is a certificate whose
 * subject is byte for byte the issuer's name. Anchors are tried before the
 * peer's certificates, so that a cross-signed one which has expired does no
 * harm, and those whose key identifier is the wanted one before others: the
 * identifier is a hint, and may be wrong.
 *
 * Each link is checked when it is tried: what an authority must be, then the
 * signature. So a wrong certificate ends its branch at once.
 *
 * Who sends the certificates chooses how many branches there are. Ten of one
 * subject have thousands of orders (in one library such a search never ended),
 * so everything is counted: anchors that are read, signatures, comparisons of
 * names. A certificate of the peer joins the path only after its signature, so
 * that count bounds the search there. The search stops when one of the counts is reached, with an answer
 * of its own.
 */
#include "path.h"

#include <errno.h>
#include <string.h>

#include "name.h"
#include "tls/bear/verify.h"

/* --- One certificate -----------------------------------------------------*/

static int check_algorithms(const struct coili_cert *cert,
                            enum coili_cert_part part,
                            struct coili_complaint *complaint)
{
    const struct coili_public_key *key = &cert->key;
    if (part != COILI_PART_ANCHOR) {
        if (cert->signature_type == COILI_SIGNATURE_WEAK)
            return coili_complain_of(complaint, COIL_CERT_WEAK, cert, part,
                                     "is signed with %s", cert->signature_name);
        if (cert->signature_type == COILI_SIGNATURE_OTHER)
            return coili_complain_of(complaint, COIL_CERT_UNSUPPORTED, cert,
                                     part,
                                     "is signed with %s, which is not "
                                     "supported",
                                     cert->signature_name);
    }
    if (key->type == COILI_KEY_OTHER)
        return coili_complain_of(complaint, COIL_CERT_UNSUPPORTED, cert, part,
                                 "has a key that is not supported: neither "
                                 "RSA nor P-256, P-384 or P-521");
    if (key->type == COILI_KEY_RSA && key->bits < 2048)
        return coili_complain_of(complaint, COIL_CERT_WEAK, cert, part,
                                 "has an RSA key of %u bits: 2048 are needed",
                                 key->bits);
    if (key->type == COILI_KEY_RSA && key->bits > 4096)
        return coili_complain_of(complaint, COIL_CERT_UNSUPPORTED, cert, part,
                                 "has an RSA key of %u bits: at most 4096 are "
                                 "supported",
                                 key->bits);
    return 0;
}

static int check_time(const struct coili_cert *cert, enum coili_cert_part part,
                      int64_t now, struct coili_complaint *complaint)
{
    char when[COILI_DAY_BYTES], clock[COILI_DAY_BYTES];
    if (now > cert->not_after)
        return coili_complain_of(complaint, COIL_CERT_TIME, cert, part,
                                 "expired on %s",
                                 coili_day_text(cert->not_after, when));
    if (now < cert->not_before)
        return coili_complain_of(complaint, COIL_CERT_TIME, cert, part,
                                 "is not valid before %s UTC, and the clock "
                                 "says %s",
                                 coili_time_text(cert->not_before, when),
                                 coili_time_text(now, clock));
    return 0;
}

static int check_purpose(const struct coili_cert *cert,
                         enum coili_cert_part part, unsigned purpose,
                         struct coili_complaint *complaint)
{
    if (!cert->has_purposes || (cert->purposes & (purpose | COILI_PURPOSE_ANY)))
        return 0;
    return coili_complain_of(complaint, COIL_CERT_PURPOSE, cert, part,
                             "is not for TLS %s (extended key usage)",
                             purpose == COILI_PURPOSE_SERVER ? "servers"
                                                             : "clients");
}

int coili_cert_check(const struct coili_cert *cert, enum coili_cert_part part,
                     int64_t now, unsigned purpose,
                     struct coili_complaint *complaint)
{
    if (cert->unknown_critical.at)
        return coili_complain_of(complaint, COIL_CERT_UNSUPPORTED, cert, part,
                                 "has a critical extension that is not known");
    int err = check_algorithms(cert, part, complaint);
    if (err == 0)
        err = check_purpose(cert, part, purpose, complaint);
    if (err == 0)
        err = check_time(cert, part, now, complaint);
    return err;
}

/* --- One link ------------------------------------------------------------*/

/*
 * Intermediates below the issuer that comes next in the path. Self-issued ones
 * do not count (RFC 5280, 4.2.1.9).
 */
static int intermediates(const struct coili_path *path)
{
    int n = 0;
    for (size_t i = 1; i < path->n; i++)
        n += !coili_cert_is_self_issued(path->links[i]);
    return n;
}

/* May this certificate issue others, as the next one of the path? */
static int check_issuer(const struct coili_path *path,
                        const struct coili_cert *cert,
                        enum coili_cert_part part)
{
    /* Roots of version 1, without extensions, are still about. */
    if (!cert->is_ca && (part != COILI_PART_ANCHOR || cert->version == 3))
        return coili_complain_of(path->complaint, COIL_CERT_PURPOSE, cert, part,
                                 "is used as an authority's, and is none "
                                 "(basic constraints)");
    if (cert->has_key_usage && !(cert->key_usage & COILI_USAGE_CERT_SIGN))
        return coili_complain_of(path->complaint, COIL_CERT_PURPOSE, cert, part,
                                 "may not sign certificates (key usage)");
    if (cert->is_ca && cert->path_len >= 0 &&
        intermediates(path) > cert->path_len)
        return coili_complain_of(path->complaint, COIL_CERT_CONSTRAINT, cert,
                                 part,
                                 "allows %d intermediate certificate%s below "
                                 "it, and there are %d (path length)",
                                 cert->path_len, cert->path_len == 1 ? "" : "s",
                                 intermediates(path));
    return coili_cert_check(cert, part, path->now, path->purpose,
                            path->complaint);
}

static int too_many(struct coili_path *path)
{
    *path->complaint = (struct coili_complaint){ COIL_CERT_OK, "" };
    coili_complain(path->complaint, COIL_CERT_UNSUPPORTED,
                   "there are too many ways to verify the certificate");
    return -E2BIG;
}

/* Has this key signed the last certificate of the path? */
static int check_signature(struct coili_path *path,
                           const struct coili_cert *issuer)
{
    const struct coili_cert *last = path->links[path->n - 1];
    char name[96];
    if (path->signatures == 0)
        return too_many(path);
    path->signatures--;
    if (coili_bear_signed_by(last, &issuer->key))
        return 0;
    coili_cert_name_text(issuer->subject, name, sizeof name);
    return coili_complain_of(path->complaint, COIL_CERT_SIGNATURE, last,
                             path->n == 1 ? COILI_PART_LEAF : COILI_PART_ISSUER,
                             "has a signature that the key of %s did not make",
                             *name ? name : "its authority");
}

static int check_link(struct coili_path *path, const struct coili_cert *issuer,
                      enum coili_cert_part part)
{
    int err = check_issuer(path, issuer, part);
    return err < 0 ? err : check_signature(path, issuer);
}

/* True if the key identifiers, where both have one, are the same. */
static bool may_have_issued(const struct coili_cert *issuer,
                            const struct coili_cert *cert)
{
    return !issuer->subject_key_id.at || !cert->authority_key_id.at ||
           coili_der_equal(issuer->subject_key_id, cert->authority_key_id);
}

/* --- The whole path ------------------------------------------------------*/

static int check_names_below(struct coili_path *path,
                             const struct coili_cert *authority, size_t below)
{
    char name[96], names[160];
    for (size_t i = 0; i < below; i++) {
        const struct coili_cert *cert = path->links[i];
        if (i > 0 && coili_cert_is_self_issued(cert))
            continue;
        enum coili_constraint_result result = coili_constraints_check(
            authority, cert, &path->names);
        if (result == COILI_CONSTRAINT_KEPT)
            continue;
        if (result == COILI_CONSTRAINT_COSTLY)
            return too_many(path);
        coili_cert_name_text(authority->subject, name, sizeof name);
        if (result == COILI_CONSTRAINT_UNKNOWN)
            return coili_complain(path->complaint, COIL_CERT_UNSUPPORTED,
                                  "the authority %s has name constraints that "
                                  "are not supported",
                                  name);
        coili_cert_names_text(cert, names, sizeof names);
        return coili_complain(path->complaint, COIL_CERT_CONSTRAINT,
                              "the authority %s may not sign for %s (name "
                              "constraints)",
                              name, names);
    }
    return 0;
}

/* The constraints of each authority, for all that stands below it. */
static int check_constraints(struct coili_path *path)
{
    int err = check_names_below(path, &path->anchor.cert, path->n);
    for (size_t i = path->n - 1; err == 0 && i > 0; i--)
        err = check_names_below(path, path->links[i], i);
    return err;
}

static int finish(struct coili_path *path)
{
    int err = check_constraints(path);
    if (err < 0)
        return err;
    path->not_after = path->anchor.cert.not_after;
    for (size_t i = 0; i < path->n; i++)
        if (path->links[i]->not_after < path->not_after)
            path->not_after = path->links[i]->not_after;
    return 0;
}

/* --- The search ----------------------------------------------------------*/

/* The anchors that may have issued the last certificate; `hinted` first. */
static int try_anchors(struct coili_path *path, bool hinted)
{
    const struct coili_cert *last = path->links[path->n - 1];
    size_t cursor = 0;
    int n;
    while ((n = coili_anchors_next(path->anchors, last->issuer, &cursor,
                                   &path->anchor)) > 0) {
        if (path->steps == 0)
            return too_many(path);
        path->steps--;
        if (may_have_issued(&path->anchor.cert, last) != hinted)
            continue;
        int err = check_link(path, &path->anchor.cert, COILI_PART_ANCHOR);
        if (err == 0)
            err = finish(path);
        if (err != COIL_ECERT)
            return err;
    }
    return n < 0 ? n : COIL_ECERT;
}

static int extend(struct coili_path *path);

/* The peer's certificates that may have issued the last one. */
static int try_certs(struct coili_path *path, bool hinted)
{
    const struct coili_cert *last = path->links[path->n - 1];
    for (size_t i = 1; i < path->certs_n; i++) {
        const struct coili_cert *cert = &path->certs[i];
        if ((path->used & 1u << i) ||
            !coili_der_equal(cert->subject, last->issuer) ||
            may_have_issued(cert, last) != hinted)
            continue;
        if (path->n == COILI_PATH_DEPTH)
            return coili_complain(path->complaint, COIL_CERT_UNSUPPORTED,
                                  "the path to a trusted authority has more "
                                  "than %d certificates",
                                  COILI_PATH_DEPTH);
        int err = check_link(path, cert, COILI_PART_ISSUER);
        if (err == 0) {
            path->used |= 1u << i;
            path->links[path->n++] = cert;
            err = extend(path);
            if (err != COIL_ECERT)
                return err;
            path->n--;
            path->used &= ~(1u << i);
        }
        if (err != COIL_ECERT)
            return err;
    }
    return COIL_ECERT;
}

/*
 * Nothing above the last certificate. Only the first time that this happens is
 * it worth a complaint, and others replace it.
 */
static int complain_of_end(struct coili_path *path)
{
    const struct coili_cert *last = path->links[path->n - 1];
    char issuer[96];
    coili_cert_name_text(last->issuer, issuer, sizeof issuer);
    if (path->n == 1 && coili_cert_is_self_issued(last))
        return coili_complain(path->complaint, COIL_CERT_UNKNOWN,
                              "the certificate is self-signed, and not one of "
                              "the trusted ones");
    if (path->certs_n == 1)
        return coili_complain(path->complaint, COIL_CERT_UNKNOWN,
                              "the peer does not send its intermediate "
                              "certificate, or no trusted authority signed it "
                              "(issuer %s)",
                              issuer);
    return coili_complain(path->complaint, COIL_CERT_UNKNOWN,
                          "no trusted authority signed it (issuer %s)", issuer);
}

/* Look for what has issued the last certificate. At most COILI_PATH_DEPTH of
 * these calls are nested. */
static int extend(struct coili_path *path)
{
    int err = try_anchors(path, true);
    if (err == COIL_ECERT)
        err = try_anchors(path, false);
    if (err == COIL_ECERT)
        err = try_certs(path, true);
    if (err == COIL_ECERT)
        err = try_certs(path, false);
    return err == COIL_ECERT ? complain_of_end(path) : err;
}

/* A leaf that is itself in the store needs no signature. */
static int find_leaf(struct coili_path *path)
{
    const struct coili_cert *leaf = path->links[0];
    size_t cursor = 0;
    int n;
    while ((n = coili_anchors_next(path->anchors, leaf->subject, &cursor,
                                   &path->anchor)) > 0)
        if (coili_der_equal(path->anchor.cert.der, leaf->der)) {
            path->not_after = leaf->not_after;
            return 0;
        }
    return n < 0 ? n : COIL_ECERT;
}

int coili_path_find(struct coili_path *path)
{
    path->links[0] = &path->certs[0];
    path->n = 1;
    path->used = 1;
    path->anchor.memory = NULL;
    path->signatures = COILI_PATH_SIGNATURES_MAX;
    path->steps = COILI_PATH_STEPS_MAX;
    path->names = COILI_PATH_NAMES_MAX;

    int err = find_leaf(path);
    if (err == COIL_ECERT)
        err = extend(path);
    return err == -E2BIG ? COIL_ECERT : err;
}

void coili_path_fini(struct coili_path *path)
{
    coili_anchor_free(&path->anchor);
}
