/* ctl_options.c: the command line: options of a command and those that every command takes. */
#include "ctl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>

/* "text" is --name itself or --name=value. */
static const ctl_option_t *find(const ctl_option_t *options, const char *text, apr_size_t len)
{
    const ctl_option_t *o;
    for (o = options; o && o->name; o++) {
        if (strlen(o->name) == len && strncmp(o->name, text, len) == 0) {
            return o;
        }
    }
    return NULL;
}

static void add_words(apr_array_header_t *list, const char *text)
{
    while (*(text += strspn(text, ", \t\n"))) {
        apr_size_t len = strcspn(text, ", \t\n");
        APR_ARRAY_PUSH(list, const char *) = apr_pstrndup(list->pool, text, len);
        text += len;
    }
}

static int store(ctl_t *ctl, const ctl_option_t *option, const char *value)
{
    char *end;
    apr_array_header_t **list;

    switch (option->kind) {
    case CTL_FLAG:
        *(int *)option->target = 1;
        return CTL_OK;
    case CTL_TEXT:
        *(const char **)option->target = value;
        return CTL_OK;
    case CTL_INT:
        *(apr_int64_t *)option->target = apr_strtoi64(value, &end, 10);
        if (value[0] < '0' || value[0] > '9' || *end || strlen(value) > 18) {
            return ctl_usage(ctl, "--%s takes a whole number, not \"%s\"", option->name, value);
        }
        return CTL_OK;
    case CTL_LIST:
        list = option->target;
        if (*list == NULL) {
            *list = apr_array_make(ctl->pool, 4, sizeof(const char *));
        }
        add_words(*list, value);
        return CTL_OK;
    }
    return CTL_OK;
}

/* A connection string may hold a password, and arguments can be read in the process list: keep a copy, blank the
 * original. */
static const char *take_secret(ctl_t *ctl, const char *value)
{
    const char *copy = apr_pstrdup(ctl->pool, value);
    /* argv is ours to write: ISO C 5.1.2.2.1; NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): never NULL here */
    memset((char *)value, '*', strlen(value));
    return copy;
}

static int count_is_right(ctl_t *ctl, const apr_array_header_t *rest, int min, int max)
{
    if (rest->nelts < min) {
        return ctl_usage(ctl, "an argument is missing");
    }
    if (max >= 0 && rest->nelts > max) {
        return ctl_usage(ctl, "\"%s\" is one argument too many", APR_ARRAY_IDX(rest, max, const char *));
    }
    return CTL_OK;
}

int ctl_options(ctl_t *ctl, const ctl_option_t *options, int argc, const char *const *argv, int min, int max,
                apr_array_header_t **rest)
{
    const ctl_option_t common[] = {
        { "database", CTL_TEXT, &ctl->database },
        { "key-file", CTL_TEXT, &ctl->key_file },
        { "state-dir", CTL_TEXT, &ctl->state_dir },
        { "json", CTL_FLAG, &ctl->json },
        { NULL, CTL_FLAG, NULL },
    };
    apr_array_header_t *arguments = apr_array_make(ctl->pool, 4, sizeof(const char *));
    int i, only_arguments = 0, rv;

    for (i = 0; i < argc; i++) {
        const char *text = argv[i] + 2, *equals, *value = NULL;
        const ctl_option_t *option;

        if (only_arguments || argv[i][0] != '-' || argv[i][1] == '\0') {
            APR_ARRAY_PUSH(arguments, const char *) = argv[i];
            continue;
        }
        if (strcmp(argv[i], "--") == 0) {
            only_arguments = 1;
            continue;
        }
        equals = strchr(text, '=');
        option = argv[i][1] == '-' ? find(options, text, equals ? (apr_size_t)(equals - text) : strlen(text)) : NULL;
        if (option == NULL && argv[i][1] == '-') {
            option = find(common, text, equals ? (apr_size_t)(equals - text) : strlen(text));
        }
        if (option == NULL) {
            return ctl_usage(ctl, "there is no option %.*s", (int)strcspn(argv[i], "="), argv[i]);
        }
        if (option->kind != CTL_FLAG) {
            value = equals ? equals + 1 : i + 1 < argc ? argv[++i]
                                                       : NULL;
        }
        if (option->kind == CTL_FLAG ? equals != NULL : value == NULL) {
            return ctl_usage(ctl, "--%s takes %s value", option->name, equals ? "no" : "a");
        }
        if (option->target == &ctl->database) {
            value = take_secret(ctl, value);
        }
        if ((rv = store(ctl, option, value)) != CTL_OK) {
            return rv;
        }
    }
    if (rest) {
        *rest = arguments;
    }
    return count_is_right(ctl, arguments, min, max);
}
