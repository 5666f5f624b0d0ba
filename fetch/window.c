/*
 * window: arithmetic on byte offsets. Knows no URLs and no buffers.
 */
#include "window.h"
#include "bytes.h"
#include <errno.h>

void window_init(struct window *w, bool has_range, uint64_t range_first, uint64_t range_last)
{
	*w = (struct window){ .end = WINDOW_TO_THE_END, .whole = !has_range };
	if (has_range) {
		w->next = range_first;
		w->end = range_last + 1;
	}
}

void window_ask(struct window *w, struct http_request *request)
{
	/* A whole object is asked for as such at first, and from the middle only once its length
	 * is known. */
	w->ranged = w->end != WINDOW_TO_THE_END && (!w->whole || w->next > 0) && w->next < w->end;
	w->at = 0;
	request->has_range = w->ranged;
	if (w->ranged) {
		request->range_first = w->next;
		request->range_last = w->end - 1;
	}
}

static int head_206(struct window *w, const struct http_head *head, struct err *e)
{
	if (!w->ranged)
		return err_set(e, EPROTO, "the server sends a part (206) of what was asked whole");
	if (!head->has_content_range)
		return err_set(e, EPROTO, "the server sends a part (206) without a Content-Range");
	if (head->range_first != w->next || head->range_last >= w->end)
		return err_set(e, EPROTO, "asked for bytes %llu-%llu, the server sends %llu-%llu",
		               (unsigned long long)w->next, (unsigned long long)w->end - 1,
		               (unsigned long long)head->range_first,
		               (unsigned long long)head->range_last);
	if (head->range_total != 0 && head->range_total < w->end)
		return err_set(
			e, EPROTO, "the object ends at %llu, before byte %llu that is wanted",
			(unsigned long long)head->range_total, (unsigned long long)w->end - 1);
	w->at = head->range_first;
	return 0;
}

static int head_200(struct window *w, const struct http_head *head, struct err *e)
{
	const uint64_t total = (uint64_t)head->content_length;

	w->at = 0;
	if (head->content_length < 0)
		return w->ranged ? WINDOW_RANGE_IGNORED : 0;
	if (w->whole && w->end == WINDOW_TO_THE_END)
		w->end = total;
	if (total < w->end || (w->whole && total != w->end))
		return err_set(e, EPROTO, "the object has %llu bytes, not the %llu that are wanted",
		               (unsigned long long)total, (unsigned long long)w->end);
	return w->ranged ? WINDOW_RANGE_IGNORED : 0;
}

int window_head(struct window *w, const struct http_head *head, struct err *e)
{
	return head->status == 206 ? head_206(w, head, e) : head_200(w, head, e);
}

size_t window_take(struct window *w, size_t size_bytes, size_t *ret_first)
{
	const uint64_t begin = w->at;
	const uint64_t end = begin + size_bytes;
	const uint64_t last = min_u64(end, w->end);

	w->at = end;
	if (end <= w->next || last <= w->next)
		return 0;
	/* at never passes next: what is wanted begins in these bytes or where they begin. */
	*ret_first = (size_t)(w->next - begin);
	w->next = last;
	return (size_t)(last - begin) - *ret_first;
}

bool window_complete(const struct window *w)
{
	return w->end != WINDOW_TO_THE_END && w->next >= w->end;
}
