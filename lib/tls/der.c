// SPDX-License-Identifier: MIT
/*
 * der.c: reading DER, strictly.
 *
 * A certificate is signed as bytes and understood as a structure. If two
 * programs understand the same bytes differently, a certificate that one of
 * them has checked means something else to the other. DER has one form for each
 * value, and here only that form is read: lengths in their shortest form,
 * integers without superfluous zeros, TRUE as FF, times with seconds and "Z".
 * BER's indefinite lengths and constructed strings are refused.
 *
 * Invariant: a view that was taken lies within the view that it was taken from.
 * A call that fails takes nothing.
 */
#include "der.h"

#include <string.h>

/* The length behind the tag. Result: bytes of it; 0: none, or not DER. */
static size_t read_length(struct coili_der from, size_t *len)
{
    if (from.len < 1)
        return 0;
    size_t first = from.at[0];
    if (first < 0x80) {
        *len = first;
        return 1;
    }
    size_t n = first & 0x7f;
    if (n < 1 || n > 3 || from.len < 1 + n)
        return 0;
    size_t value = 0;
    for (size_t i = 1; i <= n; i++)
        value = value << 8 | from.at[i];
    /* The shortest form has no zero in front, and is needed from 128 on. */
    if (from.at[1] == 0 || value < 0x80)
        return 0;
    *len = value;
    return 1 + n;
}

/* The next element, whatever its tag. Takes nothing. */
static bool look(struct coili_der from, unsigned *tag, struct coili_der *value)
{
    size_t len;
    if (from.len < 2 || (from.at[0] & 0x1f) == 0x1f)
        return false;
    struct coili_der rest = { from.at + 1, from.len - 1 };
    size_t head = read_length(rest, &len);
    if (head == 0 || len > rest.len - head)
        return false;
    *tag = from.at[0];
    *value = (struct coili_der){ rest.at + head, len };
    return true;
}

/* Go on behind an element whose content is `value`. */
static void pass(struct coili_der *from, struct coili_der value)
{
    const unsigned char *end = from->at + from->len;
    from->at = value.at + value.len;
    from->len = (size_t)(end - from->at);
}

bool coili_der_take_any(struct coili_der *from, unsigned *tag,
                        struct coili_der *value)
{
    if (!look(*from, tag, value))
        return false;
    pass(from, *value);
    return true;
}

bool coili_der_take_whole(struct coili_der *from, unsigned tag,
                          struct coili_der *value, struct coili_der *whole)
{
    const unsigned char *start = from->at;
    struct coili_der content;
    unsigned found;
    if (!look(*from, &found, &content) || found != tag)
        return false;
    pass(from, content);
    *value = content;
    if (whole)
        *whole = (struct coili_der){ start, (size_t)(from->at - start) };
    return true;
}

bool coili_der_take(struct coili_der *from, unsigned tag,
                    struct coili_der *value)
{
    return coili_der_take_whole(from, tag, value, NULL);
}

bool coili_der_take_optional(struct coili_der *from, unsigned tag,
                             struct coili_der *value)
{
    if (coili_der_peek(from) != tag) {
        *value = (struct coili_der){ NULL, 0 };
        return true;
    }
    return coili_der_take(from, tag, value);
}

/* 0 is the one byte 00; other numbers have a zero in front only before a byte
 * whose upper bit is set, which would make them negative. */
bool coili_der_take_unsigned(struct coili_der *from, struct coili_der *bytes)
{
    struct coili_der rest = *from, value;
    if (!coili_der_take(&rest, COILI_DER_INTEGER, &value) || value.len < 1 ||
        value.at[0] >= 0x80)
        return false;
    if (value.at[0] == 0) {
        if (value.len > 1 && value.at[1] < 0x80)
            return false;
        value.at++;
        value.len--;
    }
    *from = rest;
    *bytes = value;
    return true;
}

bool coili_der_take_small(struct coili_der *from, unsigned *number)
{
    struct coili_der rest = *from, bytes;
    if (!coili_der_take_unsigned(&rest, &bytes) || bytes.len > 4 ||
        (bytes.len == 4 && bytes.at[0] >= 0x80))
        return false;
    unsigned value = 0;
    for (size_t i = 0; i < bytes.len; i++)
        value = value << 8 | bytes.at[i];
    *from = rest;
    *number = value;
    return true;
}

bool coili_der_take_boolean(struct coili_der *from, bool *value)
{
    struct coili_der rest = *from, content;
    if (!coili_der_take(&rest, COILI_DER_BOOLEAN, &content) ||
        content.len != 1 || (content.at[0] != 0 && content.at[0] != 0xff))
        return false;
    *from = rest;
    *value = content.at[0] != 0;
    return true;
}

bool coili_der_take_bytes(struct coili_der *from, struct coili_der *bytes)
{
    struct coili_der rest = *from, content;
    if (!coili_der_take(&rest, COILI_DER_BIT_STRING, &content) ||
        content.len < 1 || content.at[0] != 0)
        return false;
    *from = rest;
    *bytes = (struct coili_der){ content.at + 1, content.len - 1 };
    return true;
}

/* `n` decimal digits; -1 if there are others. */
static int read_digits(const unsigned char *at, int n)
{
    int value = 0;
    for (int i = 0; i < n; i++) {
        if (at[i] < '0' || at[i] > '9')
            return -1;
        value = value * 10 + (at[i] - '0');
    }
    return value;
}

static bool is_leap(int year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static int days_of_month(int year, int month)
{
    static const unsigned char days[12] = { 31, 28, 31, 30, 31, 30,
                                            31, 31, 30, 31, 30, 31 };
    return days[month - 1] + (month == 2 && is_leap(year));
}

/* Days from 1970-01-01 to the first day of this month; years 0 to 9999. */
static int64_t days_before(int year, int month)
{
    int y = year - 1; /* for year 0, what is divided is negative */
    int64_t days = 365 * (int64_t)year;
    days += year > 0 ? y / 4 - y / 100 + y / 400 + 1 : 0;
    for (int m = 1; m < month; m++)
        days += days_of_month(year, m);
    return days - 719528;
}

/* The part behind the year: "MMDDhhmmssZ". */
static bool read_time(const unsigned char *at, int year, int64_t *seconds)
{
    int month = read_digits(at, 2), day = read_digits(at + 2, 2);
    int hour = read_digits(at + 4, 2), minute = read_digits(at + 6, 2);
    int second = read_digits(at + 8, 2);
    if (month < 1 || month > 12 || day < 1 ||
        day > days_of_month(year, month) || hour < 0 || hour > 23 ||
        minute < 0 || minute > 59 || second < 0 || second > 59 || at[10] != 'Z')
        return false;
    int64_t days = days_before(year, month) + day - 1;
    *seconds = days * 86400 + hour * 3600 + minute * 60 + second;
    return true;
}

/* RFC 5280, 4.1.2.5: UTCTime means 1950 to 2049. */
bool coili_der_take_time(struct coili_der *from, int64_t *seconds)
{
    struct coili_der rest = *from, value;
    unsigned tag;
    if (!coili_der_take_any(&rest, &tag, &value))
        return false;
    int year;
    size_t digits;
    if (tag == COILI_DER_UTC_TIME && value.len == 13) {
        digits = 2;
        year = read_digits(value.at, 2);
        if (year >= 0)
            year += year < 50 ? 2000 : 1900;
    } else if (tag == COILI_DER_GENERALIZED_TIME && value.len == 15) {
        digits = 4;
        year = read_digits(value.at, 4);
    } else {
        return false;
    }
    if (year < 0 || !read_time(value.at + digits, year, seconds))
        return false;
    *from = rest;
    return true;
}

bool coili_der_equal(struct coili_der a, struct coili_der b)
{
    return coili_der_is(a, b.at, b.len);
}

bool coili_der_is(struct coili_der view, const void *bytes, size_t len)
{
    return view.len == len && (len == 0 || memcmp(view.at, bytes, len) == 0);
}
