/* h_json: assertions on answers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

static void fail_with_answer(const char *file, int line, const h_response_t *response, const char *message)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    fprintf(out, "%s:%d: %s: %s\n    status %d\n", file, line, response->what, message, response->status);
    for (int i = 0; response->headers[i]; i++) {
        fprintf(out, "    %s\n", response->headers[i]);
    }
    fprintf(out, "    %.*s", response->body_len > 3000 ? 3000 : (int)response->body_len, response->body);
    fclose(out);
    h_fail("%s", text);
}

void h_expect_at(const char *file, int line, const h_response_t *response, int status)
{
    if (response->status != status) {
        fail_with_answer(file, line, response, h_format("expected status %d", status));
    }
}

void h_expect_header_at(const char *file, int line, const h_response_t *response, const char *name, const char *value)
{
    const char *found = h_header(response, name);

    if (value ? !found || strcmp(found, value) : found != NULL) {
        fail_with_answer(file, line, response, h_format("expected header %s: %s", name, value ? value : "(absent)"));
    }
}

json_t *h_json(const h_response_t *response)
{
    json_error_t error;
    json_t *json = json_loadb(response->body, response->body_len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);

    if (!json) {
        fail_with_answer(__FILE__, __LINE__, response, h_format("no JSON: %s at %d", error.text, error.position));
    }
    return json;
}

/* One reference token of a pointer, ~1 and ~0 undone. */
static char *next_token(const char **pointer)
{
    size_t n = strcspn(*pointer, "/");
    char *token = h_format("%.*s", (int)n, *pointer), *out = token;

    for (const char *in = token; *in; in++) {
        *out++ = (in[0] == '~' && (in[1] == '0' || in[1] == '1')) ? (*++in == '1' ? '/' : '~') : *in;
    }
    *out = '\0';
    *pointer += n;
    return token;
}

json_t *h_json_at(json_t *root, const char *pointer)
{
    while (root && *pointer == '/') {
        char *token;

        pointer++;
        token = next_token(&pointer);
        root = json_is_array(root) ? json_array_get(root, (size_t)strtoul(token, NULL, 10)) : json_object_get(root, token);
        free(token);
    }
    return root;
}

const char *h_json_text(const h_response_t *response, const char *pointer)
{
    json_t *member = h_json_at(h_json(response), pointer);

    if (!member) {
        return NULL;
    }
    return json_is_string(member) ? json_string_value(member)
                                  : json_dumps(member, JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS);
}

void h_expect_json_at(const char *file, int line, const h_response_t *response, const char *pointer, const char *value)
{
    const char *found = h_json_text(response, pointer);
    const char *wanted = value ? value : "absent";

    if (value ? !found || strcmp(found, value) : found != NULL) {
        fail_with_answer(file, line, response,
                         h_format("expected %s to be %s and not %s", pointer, wanted, found ? found : "absent"));
    }
}

void h_expect_problem_at(const char *file, int line, const h_response_t *response, int status, const char *code)
{
    h_expect_at(file, line, response, status);
    h_expect_header_at(file, line, response, "content-type", "application/problem+json");
    h_expect_json_at(file, line, response, "/status", h_format("%d", status));
    h_expect_json_at(file, line, response, "/code", code);
    for (int i = 0; i < 3; i++) {
        const char *member = ((const char *[]){ "/title", "/type", "/request_id" })[i];

        if (!h_json_text(response, member)) {
            fail_with_answer(file, line, response, h_format("the problem has no %s", member + 1));
        }
    }
    h_expect_header_at(file, line, response, "x-request-id", h_json_text(response, "/request_id"));
}
