// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_addr.c: addresses from text, to text, and of a descriptor.
 */
#include "peer.h"

static const char *text(const struct coil_addr *addr)
{
    static char buf[COIL_ADDR_TEXT_BYTES_MAX];
    return coil_addr_text(addr, buf, sizeof buf);
}

TEST(addr_reads_and_writes_numeric_addresses)
{
    static const struct {
        const char *ip;
        uint16_t port;
        const char *text;
    } good[] = {
        { "127.0.0.1", 80, "127.0.0.1:80" },
        { "0.0.0.0", 0, "0.0.0.0:0" },
        { "255.255.255.255", 65535, "255.255.255.255:65535" },
        { "::1", 8080, "[::1]:8080" },
        { "::", 0, "[::]:0" },
        { "2001:DB8::a", 443, "[2001:db8::a]:443" },
        { "::ffff:1.2.3.4", 1, "[::ffff:1.2.3.4]:1" },
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct coil_addr addr;
        CHECK_INT(coil_addr_from_ip(&addr, good[i].ip, good[i].port), 0);
        CHECK_STR(text(&addr), good[i].text);
        CHECK_INT(coil_addr_port(&addr), good[i].port);
        CHECK_INT(addr.len, addr.u.sa.sa_family == AF_INET ? 16 : 28);
    }
}

// Not a name, not half an address, nothing around it.
TEST(addr_refuses_what_is_no_numeric_address)
{
    static const char *const bad[] = { "",
                                       "localhost",
                                       "1.2.3",
                                       "1.2.3.4.5",
                                       "256.1.1.1",
                                       "127.0.0.1 ",
                                       " 127.0.0.1",
                                       "127.0.0.1:80",
                                       "[::1]",
                                       "::g",
                                       "1:2:3:4:5:6:7:8:9",
                                       ":::",
                                       "0x7f.0.0.1",
                                       "127.1",
                                       "::1%lo" };
    struct coil_addr addr, before;
    CHECK_INT(coil_addr_from_ip(&addr, "10.0.0.1", 5), 0);
    before = addr;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        test_note("%s", bad[i]);
        CHECK_INT(coil_addr_from_ip(&addr, bad[i], 80), -EINVAL);
        CHECK_MEM(&addr, &before, sizeof addr);
    }
}

TEST(addr_unix_addresses_have_a_length_limit)
{
    struct coil_addr addr = { 0 };
    char path[sizeof addr.u.un.sun_path + 1];
    memset(path, 'p', sizeof path);
    path[sizeof path - 1] = '\0';
    CHECK_INT(coil_addr_from_path(&addr, path), -ENAMETOOLONG);
    CHECK_INT(addr.len, 0);
    path[sizeof path - 2] = '\0';
    CHECK_INT(coil_addr_from_path(&addr, path), 0);
    CHECK_STR(text(&addr), path);
    CHECK_INT(coil_addr_port(&addr), 0);
}

TEST(addr_writes_addresses_into_any_size)
{
    struct coil_addr addr;
    char buf[64];
    CHECK_INT(coil_addr_from_ip(&addr, "192.168.100.200", 12345), 0);
    for (size_t size = 1; size < 30; size++) {
        memset(buf, '#', sizeof buf);
        CHECK(coil_addr_text(&addr, buf, size) == buf);
        CHECK(strlen(buf) < size);
        CHECK_INT(strncmp(buf, "192.168.100.200:12345", strlen(buf)), 0);
        CHECK_INT(buf[size], '#');
    }
    struct coil_addr odd = { .len = 2, .u.sa.sa_family = 1234 };
    CHECK_STR(text(&odd), "?");
    CHECK_INT(coil_addr_port(&odd), 0);
}

TEST(addr_asks_a_descriptor_for_its_addresses)
{
    struct coil_addr local = { .len = 77 }, peer = { .len = 77 };
    struct pair tcp = tcp_pair(0), unix = unix_pair();
    CHECK_INT(coil_addr_local(&local, tcp.a), 0);
    CHECK_INT(coil_addr_peer(&peer, tcp.b), 0);
    CHECK_MEM(&local.u.in, &peer.u.in, sizeof local.u.in);
    CHECK_INT(coil_addr_peer(&peer, unix.a), 0);
    CHECK_STR(text(&peer), "");
    peer.len = 77;
    CHECK_INT(coil_addr_local(&peer, -1), -EBADF);
    CHECK_INT(coil_addr_peer(&peer, 9999), -EBADF);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_INT(coil_addr_peer(&peer, fd), -ENOTCONN);
    struct pair pipe = pipe_pair();
    CHECK_INT(coil_addr_local(&peer, pipe.a), -ENOTSOCK);
    CHECK_INT(peer.len, 77);
    close(fd);
    close_pair(pipe);
    close_pair(tcp);
    close_pair(unix);
}
