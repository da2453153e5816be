// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_url.c: taking URLs apart, bad ones first.
 *
 * Every text is parsed at the end of readable memory: one byte too far is a
 * crash. Hosts that look like something else are most of it.
 */
#include "test.h"

#include "http/message.h"

#include <coil/url.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { ROOM = 1 << 17 };

/* The same bytes at the end of readable memory, until the next call. */
static const char *at_guard(const char *bytes, size_t len)
{
    static char *room;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);

    if (!room) {
        room = mmap(NULL, ROOM + page, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(room != MAP_FAILED);
        CHECK_INT(mprotect(room + ROOM, page, PROT_NONE), 0);
    }
    CHECK(len <= ROOM);
    if (len)
        memcpy(room + ROOM - len, bytes, len);
    return room + ROOM - len;
}

static int fault_of(const char *bytes, size_t len)
{
    struct coil_url url, before;

    memset(&url, 0xa5, sizeof url);
    before = url;
    bytes = at_guard(bytes, len);

    int fault = (int)coil_url_check(bytes, len);
    int err = coil_url_parse(&url, bytes, len);
    CHECK_INT(err, fault ? COIL_EURL : 0);
    if (fault)
        CHECK_MEM(&url, &before, sizeof url);
    return fault;
}

/* A good URL; its parts point behind the guard's back until the next call. */
static struct coil_url parse(const char *text)
{
    struct coil_url url;

    test_note("%s", text);
    text = at_guard(text, strlen(text) + 1);
    CHECK_INT(coil_url_check(text, strlen(text)), COIL_URL_FAULT_NONE);
    CHECK_INT(coil_url_parse(&url, text, strlen(text)), 0);
    return url;
}

static bool is(struct coil_url_part part, const char *expected)
{
    if (!expected)
        return !part.at && !part.len;
    return part.at && part.len == strlen(expected) &&
           !memcmp(part.at, expected, part.len);
}

/* --- What is refused ------------------------------------------------------*/

struct bad {
    int fault;
    const char *bytes;
    size_t len;
};

#define BAD(fault, literal) \
    { COIL_URL_FAULT_##fault, (literal), sizeof(literal) - 1 }

static const struct bad bad[] = {
    BAD(SCHEME, ""),
    BAD(SCHEME, "h"),
    BAD(SCHEME, "http"),
    BAD(SCHEME, "http:"),
    BAD(SCHEME, "http:/"),
    BAD(SCHEME, "http:/host/"),
    BAD(SCHEME, "http:host"),
    BAD(SCHEME, "http:\\\\host"),
    BAD(SCHEME, "http//host"),
    BAD(SCHEME, "htt://host"),
    BAD(SCHEME, "httpss://host"),
    BAD(SCHEME, "ftp://host/"),
    BAD(SCHEME, "file:///etc/passwd"),
    BAD(SCHEME, "javascript:alert(1)"),
    BAD(SCHEME, "unix:/socket"),
    BAD(SCHEME, "ws://host/"),
    BAD(SCHEME, "//host/"),
    BAD(SCHEME, "/path"),
    BAD(SCHEME, "host"),
    BAD(SCHEME, "host:80"),
    BAD(SCHEME, "\xef\xbb\xbfhttp://host/"),

    // What browsers cut out or turn into %20, and others send.
    BAD(SPACE, " http://host/"),
    BAD(SPACE, "http://host/ "),
    BAD(SPACE, "http://ho st/"),
    BAD(SPACE, "http://host/#a b"),
    BAD(CONTROL, "http://ho\tst/"),
    BAD(CONTROL, "ht\ntp://host/"),
    BAD(CONTROL, "http://host/\r\nX: y"),
    BAD(CONTROL, "http://host/?\n"),
    BAD(CONTROL, "http://host/#\n"),
    BAD(CONTROL, "http://host\0.evil/"),
    BAD(CONTROL, "http://host/\0"),
    BAD(CONTROL, "http://host/\x1f"),
    BAD(CONTROL, "http://host/\x7f"),
    BAD(NON_ASCII, "http://host/\xc3\xa9"),
    BAD(NON_ASCII, "http://host/?\xe9"),

    // Two hosts in one URL.
    BAD(USER, "http://good\\@evil/"),
    BAD(USER, "http://good@b@evil/"),
    BAD(USER, "http://@@evil/"),
    BAD(USER, "http://a[b@host/"),
    BAD(USER, "http://[::1]@host/"),
    BAD(USER, "http://a%@host/"),
    BAD(USER, "http://a%4@host/"),
    BAD(USER, "http://a%z4@host/"),
    BAD(USER, "http://a%4z@host/"),
    BAD(USER, "http://us\xc3\xa9r@host/"),
    BAD(USER, "http://a\"b@host/"),
    BAD(HOST, "http://good\\evil/"),
    BAD(HOST, "http://good\\.evil/"),
    BAD(HOST, "http://good,evil/"),
    BAD(HOST, "http://good;evil/"),
    BAD(HOST, "http://good&evil/"),
    BAD(HOST, "http://good=evil/"),
    BAD(HOST, "http://ho*st/"),
    BAD(HOST, "http://~/"),
    BAD(HOST, "http://ho[st/"),
    BAD(HOST, "http://host]/"),
    BAD(HOST, "http://a..b/"),
    BAD(HOST, "http://.a/"),
    BAD(HOST, "http://a../"),
    BAD(HOST_PERCENT, "http://ho%73t/"),
    BAD(HOST_PERCENT, "http://host%00/"),
    BAD(HOST_PERCENT, "http://host%2f/"),
    BAD(HOST_PERCENT, "http://%/"),
    BAD(HOST_NON_ASCII, "http://h\xc3\xb6st/"),
    BAD(HOST_NON_ASCII, "http://\xff/"),
    BAD(HOST_NON_ASCII, "http://evil\xef\xbc\x8e"
                        "com/"),
    BAD(HOST_NON_ASCII, "http://\xe2\x91\xa0/"),
    BAD(HOST_EMPTY, "http://"),
    BAD(HOST_EMPTY, "http:///"),
    BAD(HOST_EMPTY, "http:///host"),
    BAD(HOST_EMPTY, "http://?a"),
    BAD(HOST_EMPTY, "http://#a"),
    BAD(HOST_EMPTY, "http://:80/"),
    BAD(HOST_EMPTY, "http://./"),
    BAD(HOST_EMPTY, "http://::1/"),
    BAD(HOST_EMPTY, "http://user@/"),
    BAD(HOST_EMPTY, "http://user@:80/"),
    BAD(HOST_EMPTY, "http://./"),
    BAD(HOST_EMPTY, "http://::1/"),

    // All of these reach 127.0.0.1, or 1.2.3.4, through some inet_aton().
    BAD(HOST_NUMBER, "http://2130706433/"),
    BAD(HOST_NUMBER, "http://127.1/"),
    BAD(HOST_NUMBER, "http://127.0.1/"),
    BAD(HOST_NUMBER, "http://017700000001/"),
    BAD(HOST_NUMBER, "http://0177.0.0.1/"),
    BAD(HOST_NUMBER, "http://127.0.0.01/"),
    BAD(HOST_NUMBER, "http://127.000.0.1/"),
    BAD(HOST_NUMBER, "http://0x7f.1/"),
    BAD(HOST_NUMBER, "http://0x7f000001/"),
    BAD(HOST_NUMBER, "http://0X7F.0.0.0x1/"),
    BAD(HOST_NUMBER, "http://0x7f.0x0.0x0.0x/"),
    BAD(HOST_NUMBER, "http://0/"),
    BAD(HOST_NUMBER, "http://00/"),
    BAD(HOST_NUMBER, "http://0x/"),
    BAD(HOST_NUMBER, "http://1.2.3.4./"),
    BAD(HOST_NUMBER, "http://2130706433./"),
    BAD(HOST_NUMBER, "http://1.2.3.4.5/"),
    BAD(HOST_NUMBER, "http://1.2.3.256/"),
    BAD(HOST_NUMBER, "http://1.2.3.-4.1/"),
    BAD(HOST_NUMBER, "http://a.1/"),
    BAD(HOST_NUMBER, "http://a.0x7f/"),
    BAD(HOST_NUMBER, "http://99999999999999999999/"),

    // Brackets.
    BAD(BRACKETS, "http://[]/"),
    BAD(BRACKETS, "http://[::1/"),
    BAD(BRACKETS, "http://[::1"),
    BAD(BRACKETS, "http://["),
    BAD(BRACKETS, "http://[1.2.3.4]/"),
    BAD(BRACKETS, "http://[host]/"),
    BAD(BRACKETS, "http://[::1]host/"),
    BAD(BRACKETS, "http://[::1]./"),
    BAD(BRACKETS, "http://[::1]80/"),
    BAD(BRACKETS, "http://[::1]]/"),
    BAD(BRACKETS, "http://[[::1]]/"),
    BAD(BRACKETS, "http://[:::1]/"),
    BAD(BRACKETS, "http://[::12345]/"),
    BAD(BRACKETS, "http://[1:2:3:4:5:6:7]/"),
    BAD(BRACKETS, "http://[1:2:3:4:5:6:7:8:9]/"),
    BAD(BRACKETS, "http://[fe80::1%25eth0]/"),
    BAD(BRACKETS, "http://[fe80::1%eth0]/"),
    BAD(BRACKETS, "http://[v1.a]/"),
    BAD(BRACKETS, "http://[00001:0002:0003:0004:0005:0006:255.255.255.255]/"),
    BAD(BRACKETS, "http://[::ffff:1.2.3]/"),
    BAD(BRACKETS, "http://[::ffff:127.0.0.01]/"),
    BAD(BRACKETS, "http://[0000:0000:0000:0000:0000:0000:0000:0000:00000]/"),

    // Ports.
    BAD(PORT, "http://host:0/"),
    BAD(PORT, "http://host:00000/"),
    BAD(PORT, "http://host:65536/"),
    BAD(PORT, "http://host:99999/"),
    BAD(PORT, "http://host:0000000000065536/"),
    BAD(PORT, "http://host:18446744073709551696/"),
    BAD(PORT, "http://host:-80/"),
    BAD(PORT, "http://host:+80/"),
    BAD(PORT, "http://host:8o/"),
    BAD(PORT, "http://host:0x50/"),
    BAD(PORT, "http://host:80:80/"),
    BAD(PORT, "http://host::80/"),
    BAD(PORT, "http://host:80\\/"),
    BAD(PORT, "http://[::1]:x/"),
    BAD(PORT, "http://[::1]:65536/"),
    BAD(PORT, "http://1.2.3.4:http/"),
};

TEST(url_that_could_mean_two_places_is_refused)
{
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        test_note("%s", bad[i].bytes);
        CHECK_STR(coil_url_fault_text(fault_of(bad[i].bytes, bad[i].len)),
                  coil_url_fault_text(bad[i].fault));
    }
}

// Redirects and base URLs go through the same code: nothing may crash it.
TEST(url_cut_short_at_every_byte_does_no_harm)
{
    static const char *const texts[] = {
        "https://user:p%20w@www.example.com.:8443/a/b?c=d#e",
        "http://[2001:db8::192.0.2.1]:80/?", "HTTP://192.0.2.1:1#",
    };

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        for (size_t n = 0; n <= strlen(texts[i]); n++) {
            int fault = fault_of(texts[i], n);

            test_note("%.*s", (int)n, texts[i]);
            if (n == strlen(texts[i]))
                CHECK_INT(fault, COIL_URL_FAULT_NONE);
            if (n < strlen("http://") + 1)
                CHECK(fault != COIL_URL_FAULT_NONE);
        }
}

/* Is a URL with byte `c` between `before` and `after` accepted? */
static bool accepts(const char *before, char c, const char *after)
{
    char text[128];
    int len = snprintf(text, sizeof text, "%s%c%s", before, c, after);

    return fault_of(text, (size_t)len) == COIL_URL_FAULT_NONE;
}

#define ALNUM \
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

TEST(url_parts_take_exactly_their_bytes)
{
    for (int i = 0; i < 256; i++) {
        char c = (char)i;
        bool visible = i > ' ' && i < 0x7f;
        bool ends = c == '/' || c == '?' || c == '#';
        bool host = i && strchr("-_." ALNUM, c);
        bool user = i && strchr("-._~!$&'()*+,;=:" ALNUM, c);

        test_note("byte 0x%02x", (unsigned)i);
        CHECK_INT(accepts("http://host/", c, "a"), visible);
        CHECK_INT(accepts("http://host/?", c, "a"), visible);
        CHECK_INT(accepts("http://host/#", c, "a"), visible || i > 0x7f);
        CHECK_INT(accepts("http://ho", c, "st/"),
                  host || ends || c == '@');
        CHECK_INT(accepts("http://us", c, "er@host/"), user || ends);
        CHECK_INT(accepts("http://user:p", c, "w@host/"), user);
    }
}

TEST(url_names_are_as_long_as_dns_allows)
{
    char text[400] = "http://", *at = text + 7;

    memset(at, 'a', 255);
    CHECK_INT(fault_of(text, 7 + 63), COIL_URL_FAULT_NONE);
    CHECK_INT(fault_of(text, 7 + 64), COIL_URL_FAULT_HOST_LONG);
    at[63] = at[127] = at[191] = '.';
    CHECK_INT(fault_of(text, 7 + 253), COIL_URL_FAULT_NONE);
    CHECK_INT(fault_of(text, 7 + 254), COIL_URL_FAULT_HOST_LONG);
    at[253] = '.';
    CHECK_INT(fault_of(text, 7 + 254), COIL_URL_FAULT_NONE);
}

TEST(url_is_at_most_so_long)
{
    char *text = malloc(COIL_URL_BYTES_MAX + 1);

    CHECK(text != NULL);
    memset(text, 'a', COIL_URL_BYTES_MAX + 1);
    memcpy(text, "http://a/", 9);
    CHECK_INT(fault_of(text, COIL_URL_BYTES_MAX), COIL_URL_FAULT_NONE);
    CHECK_INT(fault_of(text, COIL_URL_BYTES_MAX + 1), COIL_URL_FAULT_LONG);
    free(text);
}

/* --- What is accepted -----------------------------------------------------*/

TEST(url_is_taken_apart)
{
    struct coil_url url =
        parse("https://us%40er:p:w@www.Example.com:8443/a;b/../c?d=%2F?e#f?g");

    CHECK(is(url.user, "us%40er"));
    CHECK(is(url.password, "p:w"));
    CHECK(is(url.host, "www.Example.com"));
    CHECK(is(url.path, "/a;b/../c"));
    CHECK(is(url.query, "d=%2F?e"));
    CHECK(is(url.target, "/a;b/../c?d=%2F?e"));
    CHECK_INT(url.port, 8443);
    CHECK_INT(url.host_kind, COIL_URL_NAME);
    CHECK(url.tls);
    CHECK(!url.rooted);
}

TEST(url_may_leave_out_all_but_scheme_and_host)
{
    struct coil_url url = parse("http://a");

    CHECK(is(url.user, NULL));
    CHECK(is(url.password, NULL));
    CHECK(is(url.host, "a"));
    CHECK(is(url.path, "/"));
    CHECK(is(url.query, NULL));
    CHECK(is(url.target, "/"));
    CHECK_INT(url.port, 80);
    CHECK(!url.tls);
    CHECK_INT(parse("HTTPS://a").port, 443);
}

TEST(url_tells_empty_parts_from_absent_ones)
{
    struct coil_url url = parse("http://:%4a@a:?#");

    CHECK(is(url.user, ""));
    CHECK(is(url.password, "%4a"));
    CHECK(is(url.query, ""));
    CHECK_INT(url.port, 80);
    CHECK(is(parse("http://a:@b").password, ""));
    url = parse("http://@a/#");
    CHECK(is(url.user, ""));
    CHECK(is(url.password, NULL));
    CHECK(is(url.query, NULL));
}

TEST(url_without_a_path_has_one_all_the_same)
{
    struct coil_url url = parse("http://a?b/c#d");

    CHECK(is(url.path, "/"));
    CHECK(is(url.query, "b/c"));
    CHECK(is(url.target, "?b/c"));
    url = parse("http://a#b/c?d");
    CHECK(is(url.path, "/"));
    CHECK(is(url.target, "/"));
}

// A signature is over the bytes as they stand.
TEST(url_target_is_sent_as_it_is_written)
{
    static const char target[] =
        "/%7e%7E/a//b/./c/..;x=1/\"<>\\^`{|}~!$&'()*+,:@[]?sig=a+b%2b%2B&&?=";
    char text[128];

    snprintf(text, sizeof text, "http://a%s#fragment", target);
    CHECK(is(parse(text).target, target));
}

TEST(url_hosts_are_names_or_addresses)
{
    static const struct {
        const char *text;
        const char *host;
        int kind;
    } cases[] = {
        { "http://a_b.c-d.e/", "a_b.c-d.e", COIL_URL_NAME },
        { "http://xn--hst-sna/", "xn--hst-sna", COIL_URL_NAME },
        { "http://1.a/", "1.a", COIL_URL_NAME },
        { "http://127.0.0.1.nip.io/", "127.0.0.1.nip.io", COIL_URL_NAME },
        { "http://4chan/", "4chan", COIL_URL_NAME },
        { "http://0xg/", "0xg", COIL_URL_NAME },
        { "http://1e3/", "1e3", COIL_URL_NAME },
        { "http://127.0.0.1/", "127.0.0.1", COIL_URL_IPV4 },
        { "http://0.0.0.0:1/", "0.0.0.0", COIL_URL_IPV4 },
        { "http://255.255.255.255/", "255.255.255.255", COIL_URL_IPV4 },
        { "http://[::]/", "::", COIL_URL_IPV6 },
        { "http://[::1]:8080/", "::1", COIL_URL_IPV6 },
        { "http://u@[2001:DB8::a]/", "2001:DB8::a", COIL_URL_IPV6 },
        { "http://[::ffff:127.0.0.1]/", "::ffff:127.0.0.1", COIL_URL_IPV6 },
        { "http://[1:2:3:4:5:6:7:8]?", "1:2:3:4:5:6:7:8", COIL_URL_IPV6 },
        { "http://[0001:0002:0003:0004:0005:0006:255.255.255.255]#",
          "0001:0002:0003:0004:0005:0006:255.255.255.255", COIL_URL_IPV6 },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct coil_url url = parse(cases[i].text);

        CHECK(is(url.host, cases[i].host));
        CHECK_INT(url.host_kind, cases[i].kind);
    }
}

// The resolver wants the dot, certificates and virtual hosts do not.
TEST(url_final_dot_is_noted_and_taken_off)
{
    struct coil_url url = parse("http://example.com.:8080/");

    CHECK(is(url.host, "example.com"));
    CHECK(url.rooted);
    CHECK_INT(url.port, 8080);
    CHECK(!parse("http://example.com/").rooted);
}

static void check_origin(const char *text, const char *authority,
                         const char *origin)
{
    struct coil_url url = parse(text);
    char buf[COIL_URL_ORIGIN_BYTES_MAX];

    CHECK_INT(coil_url_authority(&url, buf), strlen(authority));
    CHECK_STR(buf, authority);
    CHECK_INT(coil_url_origin(&url, buf), strlen(origin));
    CHECK_STR(buf, origin);
}

TEST(url_ports_are_1_to_65535)
{
    CHECK_INT(parse("http://a:1/").port, 1);
    CHECK_INT(parse("http://a:65535/").port, 65535);
    CHECK_INT(parse("http://a:00080/").port, 80);
    CHECK_INT(parse("http://a:033979/").port, 33979);
    CHECK_INT(parse("http://[::1]:000000000000065535/").port, 65535);
    check_origin("http://a:080/", "a", "http://a");
    CHECK_INT(parse("https://a:/").port, 443);
    CHECK_INT(parse("https://[::1]:").port, 443);
}

/* --- Origins --------------------------------------------------------------*/

TEST(url_origin_is_scheme_host_and_port)
{
    check_origin("http://a", "a", "http://a");
    check_origin("http://u:p@A.b:80/c?d", "A.b", "http://a.b");
    check_origin("http://a:443", "a:443", "http://a:443");
    check_origin("https://a:443", "a", "https://a");
    check_origin("https://a:80", "a:80", "https://a:80");
    check_origin("https://a.:8", "a:8", "https://a.:8");
    check_origin("http://[::AB]:65535", "[::AB]:65535", "http://[::ab]:65535");
    check_origin("http://127.0.0.1", "127.0.0.1", "http://127.0.0.1");
}

TEST(url_origin_of_the_longest_host_fits)
{
    char text[400] = "https://", buf[COIL_URL_ORIGIN_BYTES_MAX];
    struct coil_url url;

    memset(text + 8, 'a', 253);
    text[8 + 63] = text[8 + 127] = text[8 + 191] = '.';
    memcpy(text + 8 + 253, ".:65535", 8);
    url = parse(text);
    CHECK_INT(coil_url_origin(&url, buf), strlen(text));
    CHECK_STR(buf, text);
    CHECK(strlen(text) < sizeof buf);
}

// Credentials follow a redirect within an origin only.
TEST(url_origins_are_equal_as_their_names_are)
{
    static const char *const texts[] = {
        "http://a/", "https://a/", "http://a:81/", "http://b/", "http://a./",
        "http://aa/", "https://a:80/", "http://1.2.3.4/", "http://[::1]/",
        "http://[::1]:81/", "http://[::2]/", "http://a.b/",
    };
    static const char *const same[] = {
        "HTTP://u:p@A:80/b?c#d", "https://A:443", "http://a:081#", "http://B?",
        "http://A.", "http://AA", "https://a:80?", "http://1.2.3.4:",
        "http://[::1]:80", "http://[::1]:81", "http://x@[::2]", "http://A.B",
    };
    enum { COUNT = sizeof texts / sizeof *texts };

    for (int i = 0; i < COUNT; i++)
        for (int j = 0; j < COUNT; j++) {
            char a[COIL_URL_ORIGIN_BYTES_MAX], b[COIL_URL_ORIGIN_BYTES_MAX];
            struct coil_url x, y;

            test_note("%s %s", texts[i], same[j]);
            CHECK_INT(coil_url_parse(&x, texts[i], strlen(texts[i])), 0);
            CHECK_INT(coil_url_parse(&y, same[j], strlen(same[j])), 0);
            CHECK_INT(coil_url_same_origin(&x, &y), i == j);
            coil_url_origin(&x, a);
            coil_url_origin(&y, b);
            CHECK_INT(strcmp(a, b) == 0, i == j);
        }
}

/* --- Words, and anything at all -------------------------------------------*/

TEST(url_faults_have_words_of_their_own)
{
    for (int i = 0; i < COIL_URL_FAULT_COUNT; i++) {
        CHECK(*coil_url_fault_text(i));
        for (int j = 0; j < i; j++)
            CHECK(strcmp(coil_url_fault_text(i), coil_url_fault_text(j)));
    }
    CHECK_STR(coil_url_fault_text(COIL_URL_FAULT_COUNT), "");
    CHECK_STR(coil_url_fault_text(-1), "");
}

static struct coili_http_text text_of(struct coil_url_part part)
{
    return (struct coili_http_text){ part.at, part.len };
}

/* What every accepted URL must be good for. */
static void check_usable(const char *bytes, size_t len)
{
    char authority[COIL_URL_ORIGIN_BYTES_MAX],
        origin[COIL_URL_ORIGIN_BYTES_MAX];
    struct coil_url url, again;

    CHECK_INT(coil_url_parse(&url, bytes, len), 0);
    coil_url_authority(&url, authority);
    struct coili_http_request request = {
        .method = coili_http_text("GET"),
        .target = text_of(url.target),
        .host = coili_http_text(authority),
    };
    CHECK(coili_http_request_write(&request, NULL, 0) > 0);

    size_t n = coil_url_origin(&url, origin);
    CHECK_INT(coil_url_parse(&again, origin, n), 0);
    CHECK(coil_url_same_origin(&url, &again));
}

/* xorshift: the same bytes on every machine. */
static uint32_t random_next(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

// An accepted URL never fails later: not in the writer, not as an origin.
TEST(url_once_accepted_makes_a_request)
{
    static const char *const seeds[] = {
        "https://user:p%20w@www.example.com.:8443/a/b?c=d#e",
        "http://[2001:db8::192.0.2.1]:80/?x", "http://192.0.2.1?a",
        "http://0x7f.1/", "http://a@b/",
    };
    static const char spice[] = "\r\n\0 /?#@:[].%\\0x1aZ\x7f\x80-";
    uint32_t seed = 88172645u;
    int count = test_is_slow() ? 20000 : 300000, accepted = 0;
    char bytes[64];

    for (int i = 0; i < count; i++) {
        const char *text = seeds[i % 5];
        size_t len = strlen(text);

        memcpy(bytes, text, len);
        for (uint32_t n = random_next(&seed) % 4; n; n--)
            bytes[random_next(&seed) % len] =
                spice[random_next(&seed) % sizeof spice];
        len -= random_next(&seed) % 4;
        test_note("change %d: %.*s", i, (int)len, bytes);
        if (fault_of(bytes, len) == COIL_URL_FAULT_NONE) {
            check_usable(bytes, len);
            accepted++;
        }
    }
    CHECK(accepted > count / 10);
}

TEST(url_random_bytes_do_no_harm)
{
    uint32_t seed = 2463534242u;
    int count = test_is_slow() ? 10000 : 200000;
    char bytes[64] = "http://";

    for (int i = 0; i < count; i++) {
        size_t len = 7 + random_next(&seed) % (sizeof bytes - 7);

        for (size_t j = 7; j < len; j++)
            bytes[j] = (char)random_next(&seed);
        if (fault_of(bytes, len) == COIL_URL_FAULT_NONE)
            check_usable(bytes, len);
    }
}

/* --- References ----------------------------------------------------------*/

/* RFC 3986 5.4, and what servers send that is no URL. */
static const struct reference_case {
    const char *reference, *result;
} references[] = {
    { "g:h", "g:h" },
    { "g", "http://a/b/c/g" },
    { "./g", "http://a/b/c/g" },
    { "g/", "http://a/b/c/g/" },
    { "/g", "http://a/g" },
    { "//g", "http://g" },
    { "?y", "http://a/b/c/d;p?y" },
    { "g?y", "http://a/b/c/g?y" },
    { "#s", "http://a/b/c/d;p?q#s" },
    { "g#s", "http://a/b/c/g#s" },
    { "g?y#s", "http://a/b/c/g?y#s" },
    { ";x", "http://a/b/c/;x" },
    { "g;x", "http://a/b/c/g;x" },
    { "g;x?y#s", "http://a/b/c/g;x?y#s" },
    { "", "http://a/b/c/d;p?q" },
    { ".", "http://a/b/c/" },
    { "./", "http://a/b/c/" },
    { "..", "http://a/b/" },
    { "../", "http://a/b/" },
    { "../g", "http://a/b/g" },
    { "../..", "http://a/" },
    { "../../", "http://a/" },
    { "../../g", "http://a/g" },

    { "../../../g", "http://a/g" },
    { "../../../../g", "http://a/g" },
    { "/./g", "http://a/g" },
    { "/../g", "http://a/g" },
    { "g.", "http://a/b/c/g." },
    { ".g", "http://a/b/c/.g" },
    { "g..", "http://a/b/c/g.." },
    { "..g", "http://a/b/c/..g" },
    { "./../g", "http://a/b/g" },
    { "./g/.", "http://a/b/c/g/" },
    { "g/./h", "http://a/b/c/g/h" },
    { "g/../h", "http://a/b/c/h" },
    { "g;x=1/./y", "http://a/b/c/g;x=1/y" },
    { "g;x=1/../y", "http://a/b/c/y" },
    { "g?y/./x", "http://a/b/c/g?y/./x" },
    { "g?y/../x", "http://a/b/c/g?y/../x" },
    { "g#s/./x", "http://a/b/c/g#s/./x" },
    { "g#s/../x", "http://a/b/c/g#s/../x" },
    { "http:g", "http:g" },

    { "/", "http://a/" },
    { "///x", "http:///x" },
    { "HTTPS://U@H:1/./x", "HTTPS://U@H:1/x" },
    { "//g?y", "http://g?y" },
    { "//g#s", "http://g#s" },
    { "/a//b/../c", "http://a/a//c" },
    { "/..", "http://a/" },
    { "/a/%2e%2E/b", "http://a/a/%2e%2E/b" },
    { "mailto:a/../b", "mailto:a/../b" },
    { "x y/\xC3\xA9?\xE9 #\xFF ", "http://a/b/c/x%20y/%C3%A9?%E9%20#%FF%20" },
    { "//g h/\xC3\xA9", "http://g h/%C3%A9" },
    { "\\\\g\\h", "http://a/b/c/\\\\g\\h" },
    { "1:2", "http://a/b/c/1:2" },
    { "./a:b", "http://a/b/c/a:b" },
};

static int64_t resolve(const char *base, const char *reference, char *buf,
                       size_t size)
{
    return coil_url_resolve(base, strlen(base), reference, strlen(reference),
                            buf, size);
}

TEST(url_references_are_resolved_as_the_rfc_says)
{
    char buf[256];

    for (size_t i = 0; i < sizeof references / sizeof *references; i++) {
        const struct reference_case *c = &references[i];

        test_note("%s", c->reference);
        int64_t n = resolve("http://a/b/c/d;p?q", c->reference, buf,
                            sizeof buf);
        CHECK_STR(buf, c->result);
        CHECK_INT(n, strlen(c->result));
    }
}

TEST(url_references_to_a_base_without_a_path_are_below_its_root)
{
    static const char *const bases[] = { "http://a", "http://a?q", "http://a#f",
                                         "http://a?q/r#f", "http://a/" };
    char buf[256];

    for (size_t i = 0; i < sizeof bases / sizeof *bases; i++) {
        resolve(bases[i], "g", buf, sizeof buf);
        CHECK_STR(buf, "http://a/g");
        resolve(bases[i], "../g", buf, sizeof buf);
        CHECK_STR(buf, "http://a/g");
    }
    resolve("http://a#f", "?y", buf, sizeof buf);
    CHECK_STR(buf, "http://a?y");
    resolve("http://u:p@[::1]:8080/x?y#f", "//b", buf, sizeof buf);
    CHECK_STR(buf, "http://b");
    resolve("http://u:p@[::1]:8080/x?y#f", "", buf, sizeof buf);
    CHECK_STR(buf, "http://u:p@[::1]:8080/x?y");
}

TEST(url_references_to_what_is_no_url_are_errors)
{
    char buf[64];

    CHECK_INT(resolve("ftp://a/", "http://b/", buf, sizeof buf), COIL_EURL);
    CHECK_INT(resolve("", "http://b/", buf, sizeof buf), COIL_EURL);
    CHECK_INT(resolve("/x", "http://b/", buf, sizeof buf), COIL_EURL);
}

// A byte behind the buffer would be seen by the sanitizer.
TEST(url_references_are_written_only_if_there_is_room)
{
    for (size_t i = 0; i < sizeof references / sizeof *references; i++) {
        size_t n = strlen(references[i].result);

        for (size_t size = 0; size <= n + 1; size++) {
            char *buf = malloc(size ? size : 1);
            int64_t result = resolve("http://a/b/c/d;p?q",
                                     references[i].reference, buf, size);

            /* dot segments need room before they are removed */
            CHECK(result == (int64_t)n || result == COIL_ELIMIT);
            if (size <= n)
                CHECK_INT(result, COIL_ELIMIT);
            free(buf);
        }
    }
    CHECK_INT(COIL_URL_RESOLVED_BYTES(10, 2), 18);
}
