/* mpx_secret: subkeys, sealing, cursors. */
#include <stdlib.h>
#include <string.h>

#include <apr_general.h>
#include <apr_strings.h>
#include <sodium.h>

#include "mpx_secret.h"
#include "tap.h"

static apr_pool_t *pool;
static const mpx_rootkey_t root = { { 1, 2, 3 } }, other = { { 9 } };

/* Keys in use must stay what they are: a subkey that changes loses every stored digest and seal. This is
 * BLAKE2b itself, with the salt and the personalization that crypto_kdf is documented to use. */
static void subkey_by_blake2b(const mpx_rootkey_t *key, unsigned char id, unsigned char out[32])
{
    unsigned char salt[16] = { id }, personal[16] = "meterplx";
    crypto_generichash_blake2b_salt_personal(out, 32, NULL, 0, key->bytes, 32, salt, personal);
}

START_TEST(each_purpose_has_its_own_key)
{
    unsigned char keys[7][MPX_SUBKEY_SIZE], want[MPX_SUBKEY_SIZE];

    for (int id = MPX_SUBKEY_APIKEY; id <= MPX_SUBKEY_FINGERPRINT; id++) {
        mpx_subkey(&root, (mpx_subkey_e)id, keys[id]);
        subkey_by_blake2b(&root, (unsigned char)id, want);
        ck_assert_mem_eq(keys[id], want, sizeof want);
        for (int before = MPX_SUBKEY_APIKEY; before < id; before++) {
            ck_assert_mem_ne(keys[id], keys[before], sizeof want);
        }
        mpx_subkey(&other, (mpx_subkey_e)id, want);
        ck_assert_mem_ne(keys[id], want, sizeof want);
    }
    ck_assert_int_eq(MPX_SUBKEY_TOKEN, 5); /* never renumber */
    ck_assert_int_eq(MPX_SUBKEY_FINGERPRINT, 6);
}
END_TEST

/* It is kept in clear: it must stay what it is, and be no part of what is secret. */
START_TEST(a_root_key_is_known_by_its_fingerprint)
{
    unsigned char fingerprint[16], want[16], salt[16] = { 6 }, personal[16] = "meterplx", key[MPX_SUBKEY_SIZE];

    mpx_rootkey_fingerprint(&root, fingerprint);
    crypto_generichash_blake2b_salt_personal(want, 16, NULL, 0, root.bytes, 32, salt, personal);
    ck_assert_mem_eq(fingerprint, want, 16);
    for (int id = MPX_SUBKEY_APIKEY; id <= MPX_SUBKEY_FINGERPRINT; id++) {
        mpx_subkey(&root, (mpx_subkey_e)id, key);
        ck_assert_mem_ne(fingerprint, key, 16);
        ck_assert_mem_ne(fingerprint, key + 16, 16);
    }
    mpx_rootkey_fingerprint(&other, want);
    ck_assert_mem_ne(fingerprint, want, 16);
}
END_TEST

/* The layout is what rows hold: version 1, 24 bytes of nonce, XChaCha20-Poly1305 with the row's name beside
 * it. */
START_TEST(a_seal_is_what_the_standard_primitive_opens)
{
    unsigned char key[MPX_SUBKEY_SIZE], text[16];
    apr_size_t len;
    unsigned char *sealed = mpx_seal(pool, &root, "t/c/1", "0123456789", 10, &len), *again;
    unsigned long long n;

    ck_assert_uint_eq(len, 1 + 24 + 10 + 16);
    ck_assert_uint_eq(sealed[0], 1);
    subkey_by_blake2b(&root, MPX_SUBKEY_SEAL, key);
    ck_assert_int_eq(crypto_aead_xchacha20poly1305_ietf_decrypt(text, &n, NULL, sealed + 25, len - 25,
                                                                (const unsigned char *)"t/c/1", 5, sealed + 1,
                                                                key),
                     0);
    ck_assert(n == 10 && memcmp(text, "0123456789", 10) == 0);
    again = mpx_seal(pool, &root, "t/c/1", "0123456789", 10, &len);
    ck_assert_mem_ne(again + 1, sealed + 1, 24); /* the same text never looks the same */
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
    ck_assert(!mpx_unseal(pool, &root, "", sealed, len, &text, &textlen));
    for (apr_size_t i = 0; i < len; i++) {
        sealed[i] ^= 1;
        ck_assert(!mpx_unseal(pool, &root, "table/column/1", sealed, len, &text, &textlen));
        sealed[i] ^= 1;
        ck_assert(!mpx_unseal(pool, &root, "table/column/1", sealed, i, &text, &textlen));
    }
    /* nothing, and bytes that are no text */
    sealed = mpx_seal(pool, &root, "", "", 0, &len);
    ck_assert(mpx_unseal(pool, &root, "", sealed, len, &text, &textlen) && textlen == 0 && text[0] == '\0');
    sealed = mpx_seal(pool, &root, "a", "a\0b\xff", 4, &len);
    ck_assert(mpx_unseal(pool, &root, "a", sealed, len, &text, &textlen) && textlen == 4
              && memcmp(text, "a\0b\xff", 5) == 0);
}
END_TEST

static char *longest(apr_size_t n)
{
    char *payload = apr_palloc(pool, n + 1);
    memset(payload, 'p', n);
    payload[n] = '\0';
    return payload;
}

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
        ck_assert_str_eq(mpx_cursor_open(pool, &root, "list a", cursor), "payload 1");
    }
    ck_assert_uint_eq(strspn(cursor, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"),
                      strlen(cursor));
    /* a letter of the scope is none of the payload */
    cursor = mpx_cursor_make(pool, &root, "ab", "c");
    ck_assert_ptr_null(mpx_cursor_open(pool, &root, "a", cursor));
    ck_assert_ptr_null(mpx_cursor_open(pool, &root, "ab", apr_pstrcat(pool, cursor, "A", NULL)));
    ck_assert_ptr_null(mpx_cursor_open(pool, &root, "ab", apr_pstrcat(pool, cursor, "=", NULL)));
    ck_assert_ptr_null(mpx_cursor_open(pool, &root, "ab", apr_pstrcat(pool, " ", cursor, NULL)));
}
END_TEST

/* What stands in a cursor is a MAC and the payload: the same MAC does not do for a letter moved from scope to
 * payload. */
START_TEST(scope_and_payload_do_not_run_together)
{
    unsigned char raw[64];
    char forged[64], *cursor = mpx_cursor_make(pool, &root, "ab", "c");
    size_t n;

    ck_assert_int_eq(sodium_base642bin(raw, sizeof raw, cursor, strlen(cursor), NULL, &n, NULL,
                                       sodium_base64_VARIANT_URLSAFE_NO_PADDING),
                     0);
    ck_assert_uint_eq(n, 17);
    memcpy(raw + 16, "bc", 2);
    sodium_bin2base64(forged, sizeof forged, raw, 18, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    ck_assert_ptr_null(mpx_cursor_open(pool, &root, "a", forged));
    memcpy(raw + 16, "c", 1);
    sodium_bin2base64(forged, sizeof forged, raw, 17, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    ck_assert_str_eq(forged, cursor);
}
END_TEST

START_TEST(cursors_have_a_length)
{
    for (apr_size_t n = 0; n <= MPX_CURSOR_PAYLOAD_MAX;
         n += n < 8 || n > MPX_CURSOR_PAYLOAD_MAX - 8 ? 1 : 254) {
        char *payload = longest(n), *cursor = mpx_cursor_make(pool, &root, "s", payload);
        ck_assert_str_eq(mpx_cursor_open(pool, &root, "s", cursor), payload);
    }
    ck_assert_ptr_null(mpx_cursor_open(
        pool, &root, "s", mpx_cursor_make(pool, &root, "s", longest(MPX_CURSOR_PAYLOAD_MAX + 1))));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("secret");
    TCase *tcase = tcase_create("secret");

    apr_initialize();
    apr_pool_create(&pool, NULL);
    if (sodium_init() < 0) {
        return 1;
    }
    tcase_add_test(tcase, each_purpose_has_its_own_key);
    tcase_add_test(tcase, a_root_key_is_known_by_its_fingerprint);
    tcase_add_test(tcase, a_seal_is_what_the_standard_primitive_opens);
    tcase_add_test(tcase, sealed_text_opens_only_in_its_place);
    tcase_add_test(tcase, cursors_are_bound_to_their_list);
    tcase_add_test(tcase, scope_and_payload_do_not_run_together);
    tcase_add_test(tcase, cursors_have_a_length);
    suite_add_tcase(suite, tcase);
    return tap_run(suite);
}
