/*
 * cmd_top: what the agent is doing, on a terminal, once a second; elsewhere once, as text.
 */
#include "commands.h"
#include "mem.h"
#include "render.h"
#include "top_view.h"
#include <locale.h>
#include <ncurses.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TICK_MS        1000
#define ASK_TIMEOUT_MS 5000
#define STEP_COLUMNS   8
#define COLUMNS_MAX    400 /* no line is longer */

struct top {
	struct shoal *sh;
	json_t *document, *before;
	char *text;
	struct err why; /* code 0: the last question was answered */
	int first_line; /* that is shown */
	int first_column;
	int columns; /* of the terminal; 0: there is none */
	bool ended;
};

/* Of what was said last, for the terminal as it is now. */
static void make_text(struct top *top)
{
	size_t size_bytes = 0;
	FILE *out;

	free_str(&top->text);
	out = open_memstream(&top->text, &size_bytes);
	if (out == NULL)
		abort(); /* memory is out */
	top_view(out, top->document, top->before, top->columns);
	(void)fclose(out);
}

/* Ask, and make the text anew; what was there stays while nobody answers.
 * @param unwanted  of top: looked at again and again until there is an answer; or NULL */
static int ask(struct top *top, bool (*unwanted)(void *arg))
{
	struct client_request req = { .socket = top->sh->socket,
		                      .method = "GET",
		                      .path = "/v1/live",
		                      .timeout_ms = ASK_TIMEOUT_MS,
		                      .unwanted = unwanted,
		                      .unwanted_arg = top };
	json_t *document = NULL;
	int status;

	top->why = (struct err){ .code = 0 };
	status = client_call(&req, &document, &top->why);
	if (status != SHOAL_DONE)
		return status;
	json_drop(&top->before);
	top->before = top->document;
	top->document = document;
	make_text(top);
	return SHOAL_DONE;
}

/* ---- the terminal ---- */

/* The rest of a line, so many characters on. */
static const char *from_column(const char *line, int n)
{
	for (; n > 0 && *line != '\0'; n--) {
		line++;
		while (((unsigned char)*line & 0xc0) == 0x80) /* the rest of one in UTF-8 */
			line++;
	}
	return line;
}

static int draw_lines(const struct top *top)
{
	AUTO(free_str) char *text = xstrdup(top->text);
	char *rest = text;
	int n = 0;

	for (char *line = strsep(&rest, "\n"); line != NULL; line = strsep(&rest, "\n"), n++)
		if (n >= top->first_line && n - top->first_line < LINES - 1)
			(void)mvinsstr(n - top->first_line, 0,
			               from_column(line, top->first_column)); /* cut at the edge */
	return n;
}

static void draw(struct top *top)
{
	int n_lines;

	(void)erase();
	n_lines = draw_lines(top);
	if (top->first_line > 0 && top->first_line > n_lines - LINES + 1) {
		top->first_line = n_lines > LINES - 1 ? n_lines - LINES + 1 : 0;
		(void)erase();
		(void)draw_lines(top);
	}
	(void)attron(A_REVERSE);
	(void)mvinsstr(LINES - 1, 0,
	               top->why.code != 0 ? top->why.msg
	                                  : "q: end   arrows, page up, page down: scroll");
	(void)attroff(A_REVERSE);
	(void)refresh();
}

/* @return false: the end */
static bool take_key(struct top *top, int key)
{
	switch (key) {
	case 'q':
	case 'Q':
		return false;
	case KEY_UP:
	case 'k':
		top->first_line -= top->first_line > 0;
		return true;
	case KEY_DOWN:
	case 'j':
		top->first_line++;
		return true;
	case KEY_LEFT:
	case 'h':
		top->first_column -= top->first_column >= STEP_COLUMNS ? STEP_COLUMNS : 0;
		return true;
	case KEY_RIGHT:
	case 'l':
		top->first_column += top->first_column < COLUMNS_MAX ? STEP_COLUMNS : 0;
		return true;
	case KEY_RESIZE:
		top->columns = COLS;
		make_text(top);
		return true;
	case KEY_PPAGE:
		top->first_line = top->first_line > LINES ? top->first_line - LINES : 0;
		return true;
	case KEY_NPAGE:
		top->first_line += LINES;
		return true;
	default:
		return true;
	}
}

/* While the agent is silent: other keys have their turn when it has answered. */
static bool is_end_wanted(void *arg)
{
	struct top *top = arg;
	int key;

	timeout(0);
	key = getch();
	timeout(TICK_MS);
	top->ended = key != ERR && !take_key(top, key);
	return top->ended;
}

/* @return false: nothing is known of this terminal, or it writes lines alone */
static bool watch(struct top *top)
{
	SCREEN *screen;
	int key = ERR;

	// NOLINTNEXTLINE(concurrency-mt-unsafe): there is one thread
	(void)setlocale(LC_CTYPE, "");
	screen = newterm(NULL, stdout, stdin);
	if (screen == NULL)
		return false;
	if (tigetstr("cup") == NULL) { /* it cannot put text where it is to be */
		(void)endwin();
		delscreen(screen);
		return false;
	}
	(void)cbreak();
	(void)noecho();
	(void)keypad(stdscr, TRUE);
	(void)curs_set(0);
	timeout(TICK_MS);
	top->columns = COLS;
	make_text(top);
	do {
		draw(top);
		key = getch();
		if (key == ERR) /* a second went by */
			(void)ask(top, is_end_wanted);
		else
			top->ended = !take_key(top, key);
	} while (!top->ended);
	(void)endwin();
	delscreen(screen);
	return true;
}

int cmd_top(struct shoal *sh)
{
	struct top top = { .sh = sh };
	const int status = ask(&top, NULL);

	if (status != SHOAL_DONE) {
		(void)shoal_fail(sh, status, top.why.msg);
	} else if (sh->json) {
		render_json(stdout, top.document);
	} else if (!isatty(STDOUT_FILENO) || !isatty(STDIN_FILENO) || !watch(&top)) {
		(void)fputs(top.text, stdout);
	}
	json_drop(&top.document);
	json_drop(&top.before);
	free_str(&top.text);
	return status;
}
