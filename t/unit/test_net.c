/* mpx_net: addresses, blocks, trace context. */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "mpx_net.h"
#include "tap.h"

static int contains(const char *block, const char *address)
{
    mpx_cidr_t cidr;
    mpx_addr_t addr;
    ck_assert_msg(mpx_cidr_parse(block, &cidr), "%s", block);
    ck_assert_msg(mpx_addr_parse(address, &addr), "%s", address);
    return mpx_cidr_contains(&cidr, &addr);
}

START_TEST(blocks_hold_addresses)
{
    static const char *const bad[] = { "",
                                       "10.0.0.1/8",
                                       "10.0.0.0/33",
                                       "10.0.0/8",
                                       "::/129",
                                       "2001:db8::1/32",
                                       "1.2.3.4/",
                                       "a",
                                       "10.0.0.0/08",
                                       "10.0.0.0/-1",
                                       "10.0.0.0/ 8",
                                       "10.0.0.0/8 ",
                                       " 10.0.0.0/8",
                                       "/8",
                                       "10.0.0.0/4294967304",
                                       "fe80::1%eth0",
                                       "010.0.0.0/8",
                                       "10.0.0.0//8",
                                       "10.0.0.0/8/8",
                                       "::ffff:1.2.3.4/96",
                                       "1.2.3.4:80",
                                       "[::1]",
                                       "1111:2222:3333:4444:5555:6666:7777:8888:9999/64" };
    mpx_cidr_t cidr;
    mpx_addr_t a, b;

    ck_assert(contains("10.0.0.0/8", "10.255.0.1") && !contains("10.0.0.0/8", "11.0.0.1"));
    ck_assert(contains("192.0.2.7", "192.0.2.7") && !contains("192.0.2.7", "192.0.2.8"));
    ck_assert(contains("10.0.0.0/8", "::ffff:10.1.2.3")); /* both spellings are one address */
    ck_assert(contains("0.0.0.0/0", "8.8.8.8") && !contains("0.0.0.0/0", "2001:db8::1"));
    /* "all of IPv6" is none of IPv4, which has blocks of its own in either spelling */
    ck_assert(contains("::/0", "2001:db8::1") && !contains("::/0", "8.8.8.8")
              && !contains("::/0", "::ffff:8.8.8.8"));
    ck_assert(!contains("::/80", "8.8.8.8") && contains("::ffff:0:0/96", "8.8.8.8")
              && contains("::ffff:8.0.0.0/104", "8.8.8.8"));
    ck_assert(contains("::1", "::1") && !contains("::1", "::2")
              && contains("2001:db8::1/128", "2001:db8:0::1"));
    ck_assert(contains("2001:db8::/32", "2001:db8:1::1") && !contains("2001:db8::/32", "2001:db9::"));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ck_assert_msg(!mpx_cidr_parse(bad[i], &cidr), "%s", bad[i]);
    }
    mpx_addr_parse("2001:db8:0:1:f001:2:3:4", &a);
    mpx_addr_parse("2001:db8:0:1::ffff", &b);
    mpx_addr_client(&a);
    mpx_addr_client(&b);
    ck_assert_mem_eq(&a, &b, sizeof a);
    mpx_addr_parse("2001:db8:0:2::ffff", &b);
    mpx_addr_client(&b);
    ck_assert_mem_ne(&a, &b, sizeof a);
    mpx_addr_parse("192.0.2.1", &a);
    mpx_addr_parse("192.0.2.2", &b);
    mpx_addr_client(&a);
    mpx_addr_client(&b);
    ck_assert_int_ne(memcmp(&a, &b, sizeof a), 0);
}
END_TEST

START_TEST(a_zone_is_no_part_of_who)
{
    mpx_addr_t a, b;

    ck_assert(mpx_addr_parse("fe80::1", &a) && mpx_addr_parse_peer("fe80::1%eth0", &b));
    ck_assert_mem_eq(&a, &b, sizeof a);
    ck_assert(mpx_addr_parse_peer("192.0.2.1", &b) && mpx_addr_parse_peer("2001:db8:1111:2222:3333:4444:5555:6666", &b));
    ck_assert(!mpx_addr_parse_peer("%eth0", &b) && !mpx_addr_parse_peer("", &b) && !mpx_addr_parse("fe80::1%eth0", &b));
}
END_TEST

START_TEST(trace_parents)
{
    static const char good[] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    static const char *const bad[] = {
        "",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
        "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.x",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0x",
        "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-010",
        "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01",
        "0-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        " 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00F067AA0BA902B7-01",
        "FF-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-011",
    };
    static const char *const same_trace[] = {
        /* a later version, with and without more of it; flags that version 00 does not know */
        "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-fd",
        "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-09",
    };
    char text[MPX_TRACEPARENT_TEXT];
    mpx_trace_t trace, untouched;

    ck_assert(mpx_traceparent_parse(good, &trace));
    ck_assert_str_eq(mpx_traceparent_format(&trace, text), good);
    ck_assert_uint_eq(trace.trace_id[0], 0x4b);
    ck_assert_uint_eq(trace.parent_id[7], 0xb7);
    ck_assert_uint_eq(trace.flags, 1);
    for (size_t i = 0; i < sizeof same_trace / sizeof *same_trace; i++) {
        ck_assert_msg(mpx_traceparent_parse(same_trace[i], &trace), "%s", same_trace[i]);
        ck_assert_str_eq(mpx_traceparent_format(&trace, text), good);
    }
    ck_assert(mpx_traceparent_parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-02",
                                    &trace)); /* level 2: random */
    ck_assert_str_eq(mpx_traceparent_format(&trace, text) + 53, "02");
    untouched = trace;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ck_assert_msg(!mpx_traceparent_parse(bad[i], &trace), "%s", bad[i]);
        ck_assert_mem_eq(&trace, &untouched, sizeof trace);
    }
}
END_TEST

/* A block of random bits holds an address when each of the first bits is the same, one bit looked at after
 * the other. */
START_TEST(blocks_are_a_matter_of_bits)
{
    srandom((unsigned)tap_seed(20261120));
    for (int round = 0; round < 20000; round++) {
        int v4 = round % 2, from = v4 ? 12 : 0, bits = (int)(random() % (v4 ? 33 : 129)), same = 1;
        unsigned char base[16] = { 0 }, addr[16] = { 0 };
        char text[INET6_ADDRSTRLEN + 8], other[INET6_ADDRSTRLEN];

        for (int i = 0; i < 128; i++) {
            unsigned char mask = (unsigned char)(0x80 >> i % 8);
            if (i >= from * 8 && i < from * 8 + bits && random() % 2) {
                base[i / 8] |= mask;
            }
            if (random() % 40 ? base[i / 8] & mask : random() % 2) {
                addr[i / 8] |= mask;
            }
        }
        for (int i = from * 8; i < from * 8 + bits; i++) {
            same = same && ((base[i / 8] ^ addr[i / 8]) >> (7 - i % 8) & 1) == 0;
        }
        inet_ntop(v4 ? AF_INET : AF_INET6, base + from, text, sizeof text);
        inet_ntop(v4 ? AF_INET : AF_INET6, addr + from, other, sizeof other);
        sprintf(text + strlen(text), "/%d", bits);
        if (!v4 && (bits < 96) && strncmp(other, "::ffff:", 7) == 0 && strchr(other, '.')) {
            same = 0; /* an IPv4 address after all */
        }
        ck_assert_msg(contains(text, other) == same, "%s in %s", other, text);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("net");
    TCase *tcase = tcase_create("net");

    tcase_add_test(tcase, blocks_hold_addresses);
    tcase_add_test(tcase, a_zone_is_no_part_of_who);
    tcase_add_test(tcase, trace_parents);
    tcase_add_test(tcase, blocks_are_a_matter_of_bits);
    suite_add_tcase(suite, tcase);
    return tap_run(suite);
}
