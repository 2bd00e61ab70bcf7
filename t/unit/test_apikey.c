/* mpx_apikey and mpx_secret: the text of a key, its checksum and digest; sealing; cursors. */
#include <stdlib.h>
#include <string.h>

#include <apr_general.h>
#include <sodium.h>

#include "mpx_apikey.h"
#include "mpx_secret.h"
#include "tap.h"

static apr_pool_t *pool;
static const mpx_rootkey_t root = { { 1, 2, 3 } }, other = { { 9 } };

START_TEST(keys_have_a_form_and_a_checksum)
{
    unsigned char random[32];
    char text[MPX_APIKEY_TEXT], zero[44], one[8];
    mpx_apikey_env_e env;

    for (int i = 0; i < 200; i++) {
        randombytes_buf(random, sizeof random);
        mpx_apikey_format(i % 2 ? MPX_APIKEY_TEST : MPX_APIKEY_LIVE, random, text);
        ck_assert_int_eq((int)strlen(text), 59);
        ck_assert_int_eq(strncmp(text, i % 2 ? "mpx_test_" : "mpx_live_", 9), 0);
        ck_assert(mpx_apikey_check(text, 59, &env) && env == (i % 2 ? MPX_APIKEY_TEST : MPX_APIKEY_LIVE));
        /* any single character changed is noticed */
        text[9 + i % 50] = text[9 + i % 50] == 'x' ? 'y' : 'x';
        ck_assert(!mpx_apikey_check(text, 59, &env));
    }
    ck_assert(!mpx_apikey_check(text, 58, &env));
    /* base62 of 0, 61 and 62 */
    memset(random, 0, sizeof random);
    mpx_base62_encode(random, 32, zero, 43);
    zero[43] = '\0';
    ck_assert_int_eq((int)strspn(zero, "0"), 43);
    random[31] = 62;
    mpx_base62_encode(random, 32, one, 3);
    ck_assert_int_eq(memcmp(one, "010", 3), 0);
    random[31] = 61;
    mpx_base62_encode(random, 32, one, 3);
    ck_assert_int_eq(memcmp(one, "00z", 3), 0);
}
END_TEST

START_TEST(the_checksum_is_crc_32)
{
    unsigned char random[32] = { 0 };
    char text[MPX_APIKEY_TEXT];
    unsigned long crc = 0, place = 1;
    static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    apr_uint32_t expected = 0xffffffffu;

    mpx_apikey_format(MPX_APIKEY_LIVE, random, text);
    for (int i = 58; i > 52; i--, place *= 62) {
        crc += (unsigned long)(strchr(digits, text[i]) - digits) * place;
    }
    for (int i = 0; i < 52; i++) { /* table-free, the other way round: polynomial division of the reflected message */
        for (int bit = 0; bit < 8; bit++) {
            int in = (text[i] >> bit & 1) ^ (int)(expected & 1);
            expected = expected >> 1 ^ (in ? 0xedb88320u : 0);
        }
    }
    ck_assert(crc == (unsigned long)(expected ^ 0xffffffffu));
}
END_TEST

START_TEST(sealed_text_opens_only_in_its_place)
{
    apr_size_t len, textlen;
    unsigned char *sealed = mpx_seal(pool, &root, "table/column/1", "the secret", 10, &len);
    char *text;

    ck_assert(mpx_unseal(pool, &root, "table/column/1", sealed, len, &text, &textlen) && textlen == 10);
    ck_assert_str_eq(text, "the secret");
    ck_assert(!mpx_unseal(pool, &root, "table/column/2", sealed, len, &text, &textlen));
    ck_assert(!mpx_unseal(pool, &other, "table/column/1", sealed, len, &text, &textlen));
    for (apr_size_t i = 0; i < len; i++) {
        sealed[i] ^= 1;
        ck_assert(!mpx_unseal(pool, &root, "table/column/1", sealed, len, &text, &textlen));
        sealed[i] ^= 1;
        ck_assert(!mpx_unseal(pool, &root, "table/column/1", sealed, i, &text, &textlen));
    }
}
END_TEST

START_TEST(cursors_are_bound_to_their_list)
{
    char *cursor = mpx_cursor_make(pool, &root, "list a", "payload 1");

    ck_assert_str_eq(mpx_cursor_open(pool, &root, "list a", cursor), "payload 1");
    ck_assert_ptr_null(mpx_cursor_open(pool, &root, "list b", cursor));
    ck_assert_ptr_null(mpx_cursor_open(pool, &other, "list a", cursor));
    ck_assert_ptr_null(mpx_cursor_open(pool, &root, "list a", "not a cursor"));
    ck_assert_ptr_null(mpx_cursor_open(pool, &root, "list a", ""));
    for (char *c = cursor; *c; c++) {
        char was = *c;
        *c = was == 'A' ? 'B' : 'A';
        ck_assert_ptr_null(mpx_cursor_open(pool, &root, "list a", cursor));
        *c = was;
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("apikey");
    TCase *tcase = tcase_create("apikey");

    apr_initialize();
    apr_pool_create(&pool, NULL);
    if (sodium_init() < 0) {
        return 1;
    }
    tcase_add_test(tcase, keys_have_a_form_and_a_checksum);
    tcase_add_test(tcase, the_checksum_is_crc_32);
    tcase_add_test(tcase, sealed_text_opens_only_in_its_place);
    tcase_add_test(tcase, cursors_are_bound_to_their_list);
    suite_add_tcase(suite, tcase);
    return tap_run(suite);
}
