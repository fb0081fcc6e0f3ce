/* pack_items.h - shows an archive's items of metadata, which are hostile, and may be long.
   SPDX-License-Identifier: MIT OR Unlicense

   Everything is static; for programs with one translation unit. Include hexz_pack.h and cli.h
   first. */
#ifndef CHUNKWISE_PACK_ITEMS_H
#define CHUNKWISE_PACK_ITEMS_H

#include <string.h>

enum { PACK_ITEMS_SHOWN = 1000 }; /* bytes of a value as text; JSON has all */

static void pack_items_text(cli_out *f, const hexz_pack_item *item)
{
    const size_t most = PACK_ITEMS_SHOWN, n = item->size < most ? item->size : most;
    char text[PACK_ITEMS_SHOWN + 1];
    size_t i;
    memcpy(text, item->value, n);
    text[n] = 0;
    for (i = 0; i < n; i++) { /* piece by piece: a value may hold zeros */
        cli_text(f, text + i);
        i += strlen(text + i);
        if (i < n) cli_puts(f, "\\x00");
    }
    if (n < item->size) cli_printf(f, "... (%llu bytes)", (unsigned long long)item->size);
}

static CLI_UNUSED void pack_items_print(cli_out *f, const hexz_pack *archive)
{
    hexz_pack_item item;
    uint32_t i;
    for (i = 0; hexz_pack_item_at(archive, i, &item) == POSIO_OK; i++) {
        const size_t n = strlen(item.key);
        cli_puts(f, "  ");
        cli_text(f, item.key);
        cli_printf(f, "%*s ", n < 17 ? 17 - (int)n : 0, "");
        pack_items_text(f, &item);
        cli_puts(f, "\n");
    }
}

static void pack_items_json_value(cli_out *f, const hexz_pack_item *item)
{
    const char *p = (const char *)item->value; /* with a 0 behind it */
    size_t i;
    cli_puts(f, "\"");
    for (i = 0; i < item->size; i++) {
        cli_json_text(f, p + i);
        i += strlen(p + i);
        if (i < item->size) cli_puts(f, "\\u0000");
    }
    cli_puts(f, "\"");
}

static CLI_UNUSED void pack_items_json(cli_out *f, const hexz_pack *archive)
{
    hexz_pack_item item;
    uint32_t i;
    cli_puts(f, ",\"metadata\":[");
    for (i = 0; hexz_pack_item_at(archive, i, &item) == POSIO_OK; i++) {
        cli_puts(f, i != 0 ? ",{\"key\":" : "{\"key\":");
        cli_json_string(f, item.key);
        cli_puts(f, ",\"value\":");
        pack_items_json_value(f, &item);
        cli_puts(f, "}");
    }
    cli_puts(f, "]");
}

/* The value of the first item of this key, if it is text; else NULL. */
static CLI_UNUSED const char *pack_items_find(const hexz_pack *archive, const char *key)
{
    hexz_pack_item item;
    uint32_t i;
    for (i = 0; hexz_pack_item_at(archive, i, &item) == POSIO_OK; i++)
        if (strcmp(item.key, key) == 0)
            return strlen((const char *)item.value) == item.size ? (const char *)item.value : NULL;
    return NULL;
}

#endif
