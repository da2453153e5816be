// SPDX-License-Identifier: MIT
/*
 * redirect.c: where an answer redirects to, and what is left out of the next
 * request.
 *
 * The next request is made of the bytes of the last one, and not of what the
 * caller gave: so a field that was left out at one hop is not there at the next
 * ones, also if they lead back to the first origin. In Go's client credentials
 * came back in that way.
 *
 * The bytes of the last request are ours: coili_http_request_write() has
 * checked and written them. So they are read back without checks, and a field
 * may be larger than the limits for answers.
 *
 * A user and a password in a Location count only within their origin, and only
 * for the request to this URL. They are in no URL that the program can see.
 *
 * The error COIL_EREDIRECT names the URL in its words (words.h). Words that are
 * not kept any more, or are of another thread, say only the fault.
 */
#include "redirect.h"

#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "words.h"

/* ---- Words ------------------------------------------------------------- */

static const char *text_of_fault(int fault)
{
    switch (fault) {
    case COIL_HTTP_REDIRECT_LIMIT:
        return "as many as redirects_max have been followed";
    case COIL_HTTP_REDIRECT_SCHEME:
        return "the scheme is neither http nor https";
    case COIL_HTTP_REDIRECT_TLS:
        return "https:// needs TLS: set options.tls of the session";
    case COIL_HTTP_REDIRECT_DOWNGRADE:
        return "no_downgrade forbids to leave https";
    default:
        return "";
    }
}

const char *coili_redirect_text(int code)
{
    const char *words = coili_words_find(COIL_EREDIRECT, code);
    return words ? words : text_of_fault(code & 15);
}

/*
 * Keep the words for this fault: "ftp://h/x: the scheme is..." The user, the
 * password and the query are left out, since words go to logs; a long URL is
 * cut.
 *
 * Result    the code for the detail
 */
static int keep_words(const char *url, enum coil_http_redirect_fault fault)
{
    const char *end = url + strcspn(url, "?#"), *host = url;
    const char *slashes = memmem(url, (size_t)(end - url), "://", 3);
    if (slashes) {
        size_t authority = strcspn(slashes + 3, "/?#");
        const char *at = memrchr(slashes + 3, '@', authority);
        host = at ? at + 1 : slashes + 3;
    }
    int scheme = slashes ? (int)(slashes - url) + 3 : 0;
    int len = end - host < 80 ? (int)(end - host) : 80;
    return coili_words_keep(COIL_EREDIRECT, COILI_WORDS_REDIRECT, (int)fault,
                            "%.*s%.*s%s: %s", scheme < 16 ? scheme : 16, url,
                            len, host, len < end - host ? "..." : "",
                            text_of_fault((int)fault));
}

/* ---- Hops -------------------------------------------------------------- */

/* basic_n: bytes of room for the value of Authorization and a NUL; or 0 */
static struct coili_hop *hop_new(size_t url_n, size_t basic_n)
{
    size_t size = sizeof(struct coili_hop) + url_n + 1 + basic_n;
    struct coili_hop *hop = coil_alloc(size);
    if (!hop)
        return NULL;
    *hop = (struct coili_hop){ .size = size };
    hop->redirect.url = hop->text;
    return hop;
}

struct coili_hop *coili_hop_new(const char *url)
{
    size_t n = strlen(url);
    struct coili_hop *hop = hop_new(n, 0);
    if (hop)
        memcpy(hop->text, url, n + 1);
    return hop;
}

void coili_hops_free(struct coili_hop *hop)
{
    while (hop) {
        struct coili_hop *previous = hop->previous;
        coil_free(hop, hop->size);
        hop = previous;
    }
}

/* Only a hop whose answer was a redirect is in the list of redirects. */
void coili_hop_follow(struct coili_hop *hop, struct coili_hop *next, int status)
{
    hop->redirect.status = status;
    if (hop->previous)
        hop->previous->redirect.next = &hop->redirect;
    next->previous = hop;
}

const char *coil_http_response_url(const struct coil_http_response *r)
{
    coili_check(r, "coil_http_response_url: response is NULL");
    return r->hop ? r->hop->redirect.url : NULL;
}

const struct coil_http_redirect *
coil_http_response_history(const struct coil_http_response *r)
{
    coili_check(r, "coil_http_response_history: response is NULL");
    const struct coili_hop *hop = r->hop ? r->hop->previous : NULL;
    while (hop && hop->previous)
        hop = hop->previous;
    return hop ? &hop->redirect : NULL;
}

/* ---- The Location ------------------------------------------------------ */

/*
 * An empty Location redirects nowhere, as in curl. Of two that differ a proxy
 * may have followed the other one. The parser of the head has refused all
 * control characters but TAB.
 */
int coili_redirect_location(const struct coil_http_response *r,
                            const char **location, int *fault)
{
    const char *found = NULL;
    for (const struct coil_http_header *h = r->headers; h->name; h++) {
        if (!coili_http_text_is(coili_http_text(h->name), "Location"))
            continue;
        if (strchr(h->value, '\t'))
            *fault = COILI_HTTP_FAULT_CONTROL;
        if (found && strcmp(found, h->value) != 0)
            *fault = COILI_HTTP_FAULT_LOCATIONS;
        if (*fault)
            return COIL_EPROTOCOL;
        found = h->value;
    }
    if (!found || !*found)
        return 0;
    *location = found;
    return 1;
}

/* True for "http:..." and "https:...", also if no URL follows. */
static bool is_http(const char *url)
{
    size_t scheme = strcspn(url, ":");
    struct coili_http_text text = { url, scheme };
    return coili_http_text_is(text, "http") ||
           coili_http_text_is(text, "https");
}

/* ---- A user and a password in a Location -------------------------------- */

static int hex(char c)
{
    return c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
}

/* Decode "%41" in place; url.c has checked the digits. Result: the length. */
static size_t percent_decode(char *at, size_t n)
{
    char *to = at;
    for (const char *end = at + n; at < end; at++) {
        if (*at == '%') {
            *to++ = (char)(hex(at[1]) << 4 | hex(at[2]));
            at += 2;
        } else {
            *to++ = *at;
        }
    }
    return n - (size_t)(at - to);
}

/* RFC 4648 4. Result: the byte behind the text. */
static char *base64(char *to, const unsigned char *at, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                 "abcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < n; i += 3) {
        uint32_t bits = (uint32_t)at[i] << 16;
        bits |= i + 1 < n ? (uint32_t)at[i + 1] << 8 : 0;
        bits |= i + 2 < n ? at[i + 2] : 0;
        *to++ = digits[bits >> 18];
        *to++ = digits[bits >> 12 & 63];
        *to++ = i + 1 < n ? digits[bits >> 6 & 63] : '=';
        *to++ = i + 2 < n ? digits[bits & 63] : '=';
    }
    return to;
}

#define BASIC "Basic "
#define BASIC_BYTES(n) (sizeof BASIC + ((n) + 2) / 3 * 4)

/*
 * Write the value of Authorization (RFC 7617 2). `user` is "user:password" or
 * "user", percent-encoded: user_n of its all_n bytes are the user. The byte
 * behind it is free, and all of it is overwritten.
 *
 * Result    false: Basic has no way to write a user with a colon
 */
static bool write_basic(char *to, char *user, size_t user_n, size_t all_n)
{
    char *password = user + user_n + (user_n < all_n);
    size_t password_n = all_n - (size_t)(password - user);
    size_t n = percent_decode(user, user_n);
    if (memchr(user, ':', n))
        return false;
    password_n = percent_decode(password, password_n);
    user[n] = ':';
    memmove(user + n + 1, password, password_n);
    memcpy(to, BASIC, sizeof BASIC - 1);
    to = base64(to + sizeof BASIC - 1, (unsigned char *)user,
                n + 1 + password_n);
    *to = '\0';
    return true;
}

/* ---- The next URL ------------------------------------------------------ */

static int refuse(const char *url, enum coil_http_redirect_fault fault,
                  int *code)
{
    *code = keep_words(url, fault);
    return COIL_EREDIRECT;
}

/*
 * True if the URL, of `n` bytes, may be asked for after `from`; else an error.
 * That it is none at all comes first, then what the session does not allow.
 */
static int check_url(struct coil_url *url, const char *text, size_t n,
                     const struct coil_url *from,
                     struct coili_redirect_rules rules, int *code)
{
    if (coil_url_parse(url, text, n) < 0) {
        if (!is_http(text))
            return refuse(text, COIL_HTTP_REDIRECT_SCHEME, code);
        *code = (int)coil_url_check(text, n);
        return COIL_EURL;
    }
    if (url->tls && !rules.tls)
        return refuse(text, COIL_HTTP_REDIRECT_TLS, code);
    if (from->tls && !url->tls && rules.no_downgrade)
        return refuse(text, COIL_HTTP_REDIRECT_DOWNGRADE, code);
    return rules.last ? refuse(text, COIL_HTTP_REDIRECT_LIMIT, code) : 0;
}

/*
 * Make the hop of a URL: without user and password, and with the fragment of
 * the last URL if the Location has none (RFC 9110 10.2.2).
 */
static struct coili_hop *make_hop(char *text, size_t n,
                                  const struct coil_url *url,
                                  const struct coil_url *from,
                                  const char *from_text)
{
    const char *fragment = strchr(text, '#') ? NULL : strchr(from_text, '#');
    size_t fragment_n = fragment ? strlen(fragment) : 0;
    size_t user = n, rest = n, basic_n = 0;
    if (url->user.at) {
        user = (size_t)(url->user.at - text);
        rest = (size_t)(url->host.at - text) -
               (url->host_kind == COIL_URL_IPV6);
        if (coil_url_same_origin(url, from))
            basic_n = BASIC_BYTES(rest - user);
    }
    struct coili_hop *hop = hop_new(user + (n - rest) + fragment_n, basic_n);
    if (!hop)
        return NULL;
    char *to = hop->text;
    memcpy(to, text, user);
    memcpy(to += user, text + rest, n - rest);
    to += n - rest;
    if (fragment)
        memcpy(to, fragment, fragment_n);
    to += fragment_n;
    *to++ = '\0';
    if (basic_n > 0 &&
        write_basic(to, text + user, url->user.len, rest - 1 - user))
        hop->basic = to;
    return hop;
}

int coili_redirect_resolve(struct coili_hop **next, struct coil_url *url,
                           const struct coili_hop *hop, const char *location,
                           struct coili_redirect_rules rules, int *code)
{
    struct coil_url from;
    size_t from_n = strlen(hop->text), location_n = strlen(location);
    size_t size = COIL_URL_RESOLVED_BYTES(from_n, location_n);
    *code = 0;
    char *text = coil_alloc(size);
    if (!text)
        return -ENOMEM;
    int64_t n = coil_url_resolve(hop->text, from_n, location, location_n, text,
                                 size);
    coili_check(n > 0 && coil_url_parse(&from, hop->text, from_n) == 0,
                "a request was made to what is no URL");
    int err = check_url(url, text, (size_t)n, &from, rules, code);
    struct coili_hop *made = NULL;
    if (err == 0) {
        made = make_hop(text, (size_t)n, url, &from, hop->text);
        err = made ? 0 : -ENOMEM;
    }
    coil_free(text, size);
    if (err < 0)
        return err;
    size_t made_n = strlen(made->text);
    if (coil_url_parse(url, made->text, made_n) < 0) { /* now it is too long */
        *code = (int)coil_url_check(made->text, made_n);
        coili_hops_free(made);
        return COIL_EURL;
    }
    *next = made;
    return 0;
}

/* ---- The next request --------------------------------------------------- */

static bool is(struct coili_http_text method, const char *name)
{
    return method.len == strlen(name) &&
           memcmp(method.at, name, method.len) == 0;
}

/*
 * RFC 9110 15.4, as aiohttp does it, and browsers do: 303 asks to look at
 * another page; 301 and 302 do so after a POST only.
 */
bool coili_redirect_to_get(int status, struct coili_http_text method)
{
    if (status == 303)
        return !is(method, "HEAD");
    return (status == 301 || status == 302) && is(method, "POST");
}

/* Read up to `stop`, which is there, and go behind it. */
static struct coili_http_text read_until(struct coili_head_reader *r,
                                         const char *stop)
{
    size_t stop_n = strlen(stop);
    const char *found = memmem(r->at, (size_t)(r->end - r->at), stop, stop_n);
    struct coili_http_text text = { r->at, (size_t)(found - r->at) };
    r->at = found + stop_n;
    return text;
}

struct coili_http_text coili_head_begin(struct coili_head_reader *r)
{
    struct coili_http_text method = read_until(r, " ");
    read_until(r, "\r\n");
    return method;
}

bool coili_head_next(struct coili_head_reader *r, struct coili_http_pair *field)
{
    for (;;) {
        if (*r->at == '\r') {
            r->at += 2;
            return false;
        }
        field->name = read_until(r, ": ");
        field->value = read_until(r, "\r\n");
        if (!coili_http_text_is(field->name, "Host") &&
            !coili_http_text_is(field->name, "Content-Length"))
            return true;
    }
}

static bool is_one_of(struct coili_http_text name, const char *const *list,
                      size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (coili_http_text_is(name, list[i]))
            return true;
    return false;
}

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* The lists of RFC 9110 15.4. */
bool coili_redirect_keeps(const struct coili_redirect_drops *drops,
                          struct coili_http_text name)
{
    static const char *const secrets[] = { "Authorization", "Cookie",
                                           "Proxy-Authorization" };
    static const char *const of_body[] = {
        "Content-Type",     "Content-Encoding", "Content-Language",
        "Content-Location", "Digest",           "Last-Modified",
        "Expect",
    };
    if (drops->authorization && coili_http_text_is(name, secrets[0]))
        return false;
    if (drops->body && is_one_of(name, of_body, COUNT(of_body)))
        return false;
    if (!drops->secrets)
        return true;
    return !is_one_of(name, secrets, COUNT(secrets)) &&
           !is_one_of(name, drops->secret_headers, drops->secret_headers_n);
}
