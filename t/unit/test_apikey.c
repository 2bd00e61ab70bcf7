/* mpx_apikey: the text of a key, its checksum and its digest. */
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "mpx_apikey.h"
#include "tap.h"

static void fill(unsigned char *bytes, size_t n)
{
    while (n--) {
        *bytes++ = (unsigned char)random();
    }
}

START_TEST(keys_have_a_form_and_a_checksum)
{
    unsigned char bytes[32];
    char text[MPX_APIKEY_TEXT], zero[44], one[8];
    mpx_apikey_env_e env;

    srandom((unsigned)tap_seed(20261120));
    for (int i = 0; i < 100; i++) {
        fill(bytes, sizeof bytes);
        mpx_apikey_format(i % 2 ? MPX_APIKEY_TEST : MPX_APIKEY_LIVE, bytes, text);
        ck_assert_int_eq((int)strlen(text), 59);
        ck_assert_int_eq(strncmp(text, i % 2 ? "mpx_test_" : "mpx_live_", 9), 0);
        ck_assert(mpx_apikey_check(text, 59, &env) && env == (i % 2 ? MPX_APIKEY_TEST : MPX_APIKEY_LIVE));
        /* any single character changed is noticed, and so are two neighbours that changed places */
        for (int at = 0; at < 59; at++) {
            char was = text[at], next = text[at + 1];
            text[at] = was == 'x' ? 'y' : 'x';
            ck_assert(!mpx_apikey_check(text, 59, &env));
            text[at] = '\0';
            ck_assert(!mpx_apikey_check(text, 59, &env));
            text[at] = next;
            text[at + 1] = was;
            ck_assert(at == 58 || was == next || !mpx_apikey_check(text, 59, &env));
            text[at] = was;
            text[at + 1] = next;
        }
        ck_assert(mpx_apikey_check(text, 59, &env) && !mpx_apikey_check(text, 60, &env)
                  && !mpx_apikey_check(text, 0, &env));
    }
    ck_assert(!mpx_apikey_check(text, 58, &env));
    /* base62 of 0, 61 and 62 */
    memset(bytes, 0, sizeof bytes);
    mpx_base62_encode(bytes, 32, zero, 43);
    zero[43] = '\0';
    ck_assert_int_eq((int)strspn(zero, "0"), 43);
    bytes[31] = 62;
    mpx_base62_encode(bytes, 32, one, 3);
    ck_assert_int_eq(memcmp(one, "010", 3), 0);
    bytes[31] = 61;
    mpx_base62_encode(bytes, 32, one, 3);
    ck_assert_int_eq(memcmp(one, "00z", 3), 0);
}
END_TEST

/* The check value of the catalogue of CRCs names which CRC-32 it is; the key's last six characters are it. */
START_TEST(the_checksum_is_crc_32)
{
    static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    unsigned char bytes[32] = { 0 };
    char text[MPX_APIKEY_TEXT];
    unsigned long crc = 0, place = 1;

    ck_assert_uint_eq(mpx_crc32("123456789", 9), 0xcbf43926u);
    ck_assert_uint_eq(mpx_crc32("", 0), 0);
    ck_assert_uint_eq(mpx_crc32("The quick brown fox jumps over the lazy dog", 43), 0x414fa339u);
    mpx_apikey_format(MPX_APIKEY_LIVE, bytes, text);
    for (int i = 58; i > 52; i--, place *= 62) {
        crc += (unsigned long)(strchr(digits, text[i]) - digits) * place;
    }
    ck_assert(crc == mpx_crc32(text, 52));
}
END_TEST

/* A checksum that fits is not enough: the form and the alphabet are looked at too. */
START_TEST(a_checksum_alone_makes_no_key)
{
    static const struct {
        const char *body; /* 52 characters */
        int good;
    } cases[] = {
        { "mpx_live_0123456789abcdefghijABCDEFGHIJ0123456789abc", 1 },
        { "mpx_test_0123456789abcdefghijABCDEFGHIJ0123456789abc", 1 },
        { "mpx_live_0123456789abcdefghijABCDEFGHIJ012345678-abc", 0 },
        { "mpx_live_0123456789abcdefghijABCDEFGHIJ012345678_abc", 0 },
        { "mpx_live-0123456789abcdefghijABCDEFGHIJ0123456789abc", 0 },
        { "mpx_prod_0123456789abcdefghijABCDEFGHIJ0123456789abc", 0 },
        { "MPX_live_0123456789abcdefghijABCDEFGHIJ0123456789abc", 0 },
        { "mpx-live_0123456789abcdefghijABCDEFGHIJ0123456789abc", 0 },
        { "mpx_live_0123456789abcdefghijABCDEFGHIJ012345678\351abc", 0 },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        apr_uint32_t crc = mpx_crc32(cases[i].body, 52);
        unsigned char bytes[4] = { (unsigned char)(crc >> 24), (unsigned char)(crc >> 16),
                                   (unsigned char)(crc >> 8), (unsigned char)crc };
        char text[60];
        mpx_apikey_env_e env;

        ck_assert_uint_eq(strlen(cases[i].body), 52);
        memcpy(text, cases[i].body, 52);
        text[52] = '_';
        mpx_base62_encode(bytes, 4, text + 53, 6);
        ck_assert_msg(mpx_apikey_check(text, 59, &env) == cases[i].good, "%s", cases[i].body);
        text[52] = '0';
        ck_assert(!mpx_apikey_check(text, 59, &env));
    }
}
END_TEST

/* Horner's rule back: the digits of n random bytes give those bytes again. */
START_TEST(base62_is_long_division)
{
    static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

    srandom((unsigned)tap_seed(20261120));
    for (int round = 0; round < 2000; round++) {
        unsigned char bytes[32], back[32] = { 0 };
        size_t n = 1 + (size_t)random() % 32, i;
        char text[43];

        for (i = 0; i < n; i++) {
            bytes[i] = (unsigned char)(random() % 3 ? random() : round % 2 ? 0xff
                                                                           : 0);
        }
        mpx_base62_encode(bytes, n, text, sizeof text);
        for (i = 0; i < sizeof text; i++) {
            const char *digit = memchr(digits, text[i], 62);
            unsigned carry;
            ck_assert_ptr_nonnull(digit);
            carry = (unsigned)(digit - digits);
            for (size_t k = n; k-- > 0;) {
                carry += back[k] * 62u;
                back[k] = (unsigned char)carry;
                carry >>= 8;
            }
            ck_assert_uint_eq(carry, 0);
        }
        ck_assert_mem_eq(back, bytes, n);
    }
}
END_TEST

START_TEST(digests_are_keyed)
{
    static const unsigned char one[32] = { 1 }, two[32] = { 2 };
    unsigned char a[MPX_APIKEY_DIGEST], b[MPX_APIKEY_DIGEST], want[MPX_APIKEY_DIGEST];

    mpx_apikey_digest(one, "mpx_live_x", 10, a);
    crypto_generichash_blake2b(want, sizeof want, (const unsigned char *)"mpx_live_x", 10, one, 32);
    ck_assert_mem_eq(a, want, sizeof a);
    mpx_apikey_digest(two, "mpx_live_x", 10, b);
    ck_assert_mem_ne(a, b, sizeof a);
    mpx_apikey_digest(one, "mpx_live_y", 10, b);
    ck_assert_mem_ne(a, b, sizeof a);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("apikey");
    TCase *tcase = tcase_create("apikey");

    if (sodium_init() < 0) {
        return 1;
    }
    tcase_add_test(tcase, keys_have_a_form_and_a_checksum);
    tcase_add_test(tcase, the_checksum_is_crc_32);
    tcase_add_test(tcase, a_checksum_alone_makes_no_key);
    tcase_add_test(tcase, digests_are_keyed);
    tcase_add_test(tcase, base62_is_long_division);
    suite_add_tcase(suite, tcase);
    return tap_run(suite);
}
