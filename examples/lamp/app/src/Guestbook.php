<?php
/**
 * A guestbook: pages for people, JSON for drills, health for the load balancer.
 *
 * Every answer says which servers gave it. What could not be confirmed is said, never guessed: 201 means that the database
 * acknowledged the entry, 503 that nothing was written, 504 that nobody knows; the same token may be sent again in any case.
 */

declare(strict_types=1);

final class Guestbook
{
    private const NAME_LENGTH = 80;
    private const MESSAGE_LENGTH = 2000;
    private const ENTRIES_PER_PAGE = 10;
    private const TOKENS_PER_ANSWER = 1000;
    private const LARGEST_BODY = 64 * 1024;
    private const RETRY_AFTER_S = 1;

    private string $base = '';
    private ?array $server = null;
    private string $whyNoServer = 'not asked';

    /** @param array<string, string> $environment */
    public function __construct(
        private readonly Database $database,
        private readonly Session $session,
        private readonly array $environment,
    ) {
    }

    /** Answer the request that `$request`, as PHP's $_SERVER, tells of. */
    public function answer(array $request): void
    {
        $this->base = rtrim(dirname($request['SCRIPT_NAME']), '/');
        $path = rawurldecode(substr((string) strtok($request['REQUEST_URI'], '?'), strlen($this->base)));
        try {
            $this->route($request['REQUEST_METHOD'], $path);
        } catch (Problem $problem) {
            $this->sayProblem($problem, $path);
        } catch (Throwable $problem) {
            error_log((string) $problem);
            $text = 'Something went wrong on our side, and has been noted.';
            $this->sayProblem(new Problem(500, 'defect', 'That did not work', $text), $path);
        }
    }

    private function route(string $method, string $path): void
    {
        $ways = [
            '/' => ['GET' => $this->index(...)],
            '/entries' => ['POST' => $this->write(...)],
            '/api/entries' => ['POST' => $this->apiWrite(...)],
            '/api/tokens' => ['GET' => $this->apiTokens(...)],
            '/health' => ['GET' => $this->health(...)],
            '/ready' => ['GET' => $this->ready(...)],
        ];
        if (preg_match('#^/entries/([0-9]{1,18})$#D', $path, $found)) {
            $ways[$path] = ['GET' => fn () => $this->entry((int) $found[1])];
        } elseif (preg_match('#^/api/entries/([A-Za-z0-9_-]{1,64})$#D', $path, $found)) {
            $ways[$path] = ['GET' => fn () => $this->apiEntry($found[1])];
        }
        if (!isset($ways[$path])) {
            throw Problem::absent('There is no such page.');
        }
        $way = $ways[$path][$method === 'HEAD' ? 'GET' : $method] ?? null;
        if ($way === null) {
            header('Allow: ' . implode(', ', array_keys($ways[$path])));
            throw Problem::notAllowed($method);
        }
        $way();
    }

    // --- pages ----------------------------------------------------------------------------------------------------------
    private function index(): void
    {
        $before = $this->wholeNumber('before', null);
        $answer = $this->reading(
            fn () => $this->database->newest($before, self::ENTRIES_PER_PAGE + 1, $this->session->get('position'))
        );
        $page = array_slice($answer['entries'], 0, self::ENTRIES_PER_PAGE);
        $older = count($answer['entries']) > count($page) ? end($page)['id'] : null;
        $this->sayPage(200, 'index', [
            'title' => 'Guestbook',
            'isCurrent' => $answer['isCurrent'],
            'page' => $page,
            'older' => $older,
            'before' => $before,
            'notice' => $this->session->take('notice'),
            'form' => ['name' => '', 'message' => '', 'token' => bin2hex(random_bytes(16))],
        ]);
    }

    private function entry(int $id): void
    {
        $answer = $this->reading(fn () => $this->database->find('id', $id, $this->session->get('position')));
        if (!$answer['entries']) {
            throw Problem::absent("Entry $id is not in the book.");
        }
        $this->sayPage(200, 'entry', ['title' => "Entry $id · Guestbook", 'entry' => $answer['entries'][0]]);
    }

    private function write(): void
    {
        $form = [];
        foreach (['name', 'message', 'token', 'csrf'] as $key) {
            $form[$key] = is_string($_POST[$key] ?? null) ? $_POST[$key] : '';
        }
        try {
            if (!hash_equals($this->session->csrf(), $form['csrf'])) {
                throw Problem::expired();
            }
            $written = $this->written($form);
        } catch (Problem $problem) {
            $this->sayProblem($problem, '', $form);
            return;
        }
        $this->session->set('position', $written['position']);
        $where = $written['server'] ? " on {$written['server']['name']}" : '';
        $this->session->set('notice', "Entry {$written['id']} is in the book. The database acknowledged it$where.");
        $this->send(303, ['Location' => "$this->base/#entry-{$written['id']}"], '');
    }

    // --- for programs ---------------------------------------------------------------------------------------------------
    private function apiWrite(): void
    {
        // Only JSON: another site's form cannot send it, so that no CSRF token is needed here.
        if (!str_starts_with($_SERVER['CONTENT_TYPE'] ?? '', 'application/json')) {
            throw new Problem(415, 'no-json', 'Not written yet', 'JSON is needed.');
        }
        $body = json_decode((string) file_get_contents('php://input', length: self::LARGEST_BODY), true, 8);
        if (!is_array($body) || array_is_list($body)) {
            throw Problem::invalid('A JSON object is needed.');
        }
        $written = $this->written($body);
        $this->sayJson($written['isNew'] ? 201 : 200, [
            'id' => $written['id'],
            'token' => $body['token'],
            'position' => $written['position'],
            'database' => $written['server'],
        ]);
    }

    private function apiEntry(string $token): void
    {
        $answer = $this->reading(fn () => $this->database->find('token', $token, null));
        if (!$answer['entries']) {
            $this->sayJson(404, ['error' => 'absent', 'database' => $answer['server']]);
            return;
        }
        ['id' => $id, 'name' => $name, 'message' => $message] = $answer['entries'][0];
        $found = ['id' => $id, 'token' => $token, 'name' => $name, 'message' => $message];
        $this->sayJson(200, $found + ['database' => $answer['server']]);
    }

    private function apiTokens(): void
    {
        $after = $this->wholeNumber('after', 0);
        $limit = min($this->wholeNumber('limit', 100), self::TOKENS_PER_ANSWER);
        $answer = $this->reading(fn () => $this->database->after($after, $limit));
        $tokens = array_map(static fn ($entry) => ['id' => $entry['id'], 'token' => $entry['token']], $answer['entries']);
        $this->sayJson(200, ['tokens' => $tokens, 'database' => $answer['server']]);
    }

    private function health(): void
    {
        // Never asks the database: a failover there must not make the load balancer take out every server.
        $instance = ($this->environment['APP_NAME'] ?? 'app') . '@' . ($this->environment['HOST_NAME'] ?? '');
        $this->sayJson(200, ['status' => 'ok', 'instance' => $instance]);
    }

    private function ready(): void
    {
        $probes = [];
        foreach ([Database::WRITE, Database::READ] as $route) {
            $probes["database-$route"] = $this->database->probe($route);
        }
        $isReady = !array_filter($probes, static fn ($probe) => $probe['status'] !== 'ok');
        $this->sayJson($isReady ? 200 : 503, $probes);
    }

    // --- what both share ------------------------------------------------------------------------------------------------
    private function reading(callable $read): array
    {
        try {
            $answer = $read();
        } catch (Unavailable) {
            $this->whyNoServer = 'no answer';
            throw Problem::notReadable();
        }
        $this->server = $answer['server'];
        return $answer;
    }

    private function written(array $fields): array
    {
        [$token, $name, $message] = self::entryFrom($fields);
        try {
            return $this->database->write($token, $name, $message);
        } catch (NoPrimary) {
            $this->whyNoServer = 'no primary';
            throw Problem::noPrimary();
        } catch (Unavailable) {
            $this->whyNoServer = 'no answer';
            throw Problem::notWritten();
        } catch (OutcomeUnknown) {
            $this->whyNoServer = 'no answer';
            throw Problem::unknown();
        }
    }

    private static function entryFrom(array $fields): array
    {
        $given = [$fields['token'] ?? null, $fields['name'] ?? null, $fields['message'] ?? null];
        if (array_filter($given, 'is_string') !== $given) {
            throw Problem::invalid('Name, message and token are needed, each a text.');
        }
        [$token, $name, $message] = $given;
        // Browsers send line ends as two characters, which would count twice.
        [$name, $message] = [trim($name), trim(str_replace("\r\n", "\n", $message))];
        if (!mb_check_encoding($name . $message, 'UTF-8') || preg_match('/[\x00-\x08\x0b-\x1f\x7f]/', $name . $message)) {
            throw Problem::invalid('There are characters in it that are not text.');
        }
        if ($name === '' || $message === '' || str_contains($name, "\n")) {
            throw Problem::invalid('A name of one line and a message are needed.');
        }
        foreach ([['name', $name, self::NAME_LENGTH], ['message', $message, self::MESSAGE_LENGTH]] as [$what, $text, $most]) {
            $length = mb_strlen($text, 'UTF-8');
            if ($length > $most) {
                throw Problem::invalid("The $what has $length characters; $most fit.");
            }
        }
        if (!preg_match('/^[A-Za-z0-9_-]{1,64}$/D', $token)) {
            throw Problem::invalid('The token has 1 to 64 letters, digits, - or _.');
        }
        return [$token, $name, $message];
    }

    private function wholeNumber(string $name, ?int $default): ?int
    {
        $text = $_GET[$name] ?? '';
        return is_string($text) && preg_match('/^[0-9]{1,18}$/D', $text) ? (int) $text : $default;
    }

    // --- answers --------------------------------------------------------------------------------------------------------
    private function sayProblem(Problem $problem, string $path, ?array $form = null): void
    {
        if (str_starts_with($path, '/api/')) {
            $this->sayJson($problem->status, ['error' => $problem->name, 'text' => $problem->getMessage()]);
            return;
        }
        $this->sayPage($problem->status, 'problem', [
            'title' => "$problem->title · Guestbook",
            'problem' => $problem,
            'form' => $form,
        ]);
    }

    private function sayJson(int $status, array $content): void
    {
        $flags = JSON_THROW_ON_ERROR | JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES;
        $this->send($status, ['Content-Type' => 'application/json'], json_encode($content, $flags) . "\n");
    }

    private function sayPage(int $status, string $template, array $values): void
    {
        $values += [
            'base' => $this->base,
            'csrf' => $this->session->csrf(),
            'way' => $this->way(),
            'nameLength' => self::NAME_LENGTH,
            'messageLength' => self::MESSAGE_LENGTH,
        ];
        $main = Template::filled($template, $values);
        $page = Template::filled('base', $values + ['main' => $main]);
        $this->send($status, ['Content-Type' => 'text/html; charset=utf-8'], $page);
    }

    private function send(int $status, array $headers, string $body): void
    {
        http_response_code($status);
        $headers += [
            'Content-Security-Policy' => "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
                . "base-uri 'none'; frame-ancestors 'none'",
            'X-Content-Type-Options' => 'nosniff',
            'X-Frame-Options' => 'DENY',
            'Referrer-Policy' => 'same-origin',
            'Permissions-Policy' => 'camera=(), geolocation=(), microphone=()',
            'Cross-Origin-Opener-Policy' => 'same-origin',
            'Cache-Control' => 'no-store',
            'X-App-Server' => $this->environment['HOST_NAME'] ?? '',
        ];
        if ($status === 503) {
            $headers['Retry-After'] = (string) self::RETRY_AFTER_S;
        }
        $this->session->send();
        foreach ($headers as $name => $value) {
            header("$name: $value");
        }
        echo $body;
    }

    /** Each tier that had a part in this answer, and its server, for the strip at the foot of the page. */
    private function way(): array
    {
        return [
            'load balancer' => $_SERVER['HTTP_X_LOAD_BALANCER'] ?? 'not named',
            'web' => $_SERVER['HTTP_X_WEB_SERVER'] ?? 'not named',
            'app' => $this->environment['HOST_NAME'] ?? 'not named',
            'database' . ($this->server ? ", {$this->server['role']}" : '') => $this->server['name'] ?? $this->whyNoServer,
        ];
    }
}
