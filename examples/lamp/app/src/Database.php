<?php
/**
 * The guestbook's entries in MariaDB or MySQL: writes go to the primary, reads to a replica.
 *
 * Three things are kept apart because their callers must act differently: a write the database acknowledged (a result), one that
 * certainly did not happen (Unavailable), and one of which nobody knows (OutcomeUnknown).
 *
 * Each request has a connection of its own: a fresh one always leads to the server that is primary now, and a failure to connect
 * is known to have written nothing.
 *
 * Source: https://www.php.net/manual/en/ref.pdo-mysql.php, https://mariadb.com/kb/en/master_gtid_wait/
 */

declare(strict_types=1);

final class Database
{
    public const WRITE = 'write';
    public const READ = 'read';

    private const CONNECT_TIMEOUT_S = 2;
    private const ANSWER_TIMEOUT_S = 5;
    private const PROBE_TIMEOUT_S = 1;
    // No further attempt to read begins after this time, so that a page is answered, if only with regret.
    private const LAST_ATTEMPT_S = 6.0;
    // How long a replica may take to catch up with a visitor's own entry before the primary is asked instead.
    private const CATCH_UP_S = 0.2;
    // Writes wait for a replica's acknowledgement. Without this limit they would occupy every process while none answers, and
    // pages that only read would stop too.
    private const WRITES_AT_ONCE = 8;
    private const WRITE_QUEUE_S = 0.2;
    // As a position to read from: nothing older than what the primary has.
    private const PRIMARY_ONLY = '';

    private const NO_SUCH_TABLE = 1146;
    private const READ_ONLY = [1290, 1836];
    // Errors after which nothing was written: lock wait, deadlock, no table, no right, table or disk full. Any other leaves the
    // outcome unknown: a shutdown, for example, may end the wait for a replica after the entry was committed.
    private const REFUSED = [1205, 1213, 1146, 1142, 1044, 1114, 1021];

    private const CREATE = 'CREATE TABLE IF NOT EXISTS entries (
        id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
        token VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL UNIQUE,
        name VARCHAR(80) NOT NULL,
        message VARCHAR(2000) NOT NULL,
        written_at DATETIME(3) NOT NULL,
        attempts INT UNSIGNED NOT NULL DEFAULT 1
    ) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4';
    // A repeated token changes `attempts`, so that its answer too waits for a replica's acknowledgement. A mere SELECT could see
    // an entry that a cut-off primary committed and nobody else has.
    private const INSERT = 'INSERT INTO entries (token, name, message, written_at) VALUES (?, ?, ?, UTC_TIMESTAMP(3))
        ON DUPLICATE KEY UPDATE id = LAST_INSERT_ID(id), attempts = attempts + 1';
    private const SELECT = 'SELECT id, token, name, message, written_at FROM entries ';

    /** @param array<string, string> $environment */
    public function __construct(private readonly array $environment)
    {
    }

    /**
     * Store an entry and return once the database acknowledged it: its id, whether it is new, where to read it from, by whom.
     *
     * The same token again stores nothing and returns the first entry's id, with the same guarantee. Throws Unavailable when
     * nothing was written, OutcomeUnknown when that cannot be said.
     */
    public function write(string $token, string $name, string $message): array
    {
        $place = $this->placeAmongWriters();
        try {
            $connection = $this->connect(self::WRITE, self::ANSWER_TIMEOUT_S);
            $inserted = $this->insert($connection, [$token, $name, $message]);
            $id = (int) $connection->lastInsertId();
            [$position, $server] = $this->afterWrite($connection);
            return ['id' => $id, 'isNew' => $inserted === 1, 'position' => $position, 'server' => $server];
        } finally {
            fclose($place);
        }
    }

    /**
     * Up to `$limit` entries, the newest first, older than the id `$before`.
     *
     * `$since` is the position of the visitor's own write: where no server that has it answers, `isCurrent` is false.
     */
    public function newest(?int $before, int $limit, ?string $since): array
    {
        $where = $before === null ? '' : 'WHERE id < ' . $before;
        return $this->read(self::SELECT . "$where ORDER BY id DESC LIMIT $limit", [], $since);
    }

    /**
     * The entry with this id or token, or none. That there is none is said by the primary only, since a replica may not have it
     * yet; else throws Unavailable.
     */
    public function find(string $column, int|string $value, ?string $since): array
    {
        $query = self::SELECT . ($column === 'id' ? 'WHERE id = ?' : 'WHERE token = ?');
        $answer = $this->read($query, [$value], $since);
        return $answer['entries'] ? $answer : $this->readPrimary($query, [$value]);
    }

    /** Up to `$limit` entries with ids above `$after`, oldest first, complete as of now: from the primary. */
    public function after(int $after, int $limit): array
    {
        return $this->readPrimary(self::SELECT . "WHERE id > $after ORDER BY id LIMIT $limit", []);
    }

    /** Ask who answers on a route; the write route is well only if that is a primary. */
    public function probe(string $route): array
    {
        $begin = microtime(true);
        $server = $error = null;
        try {
            $server = $this->server($this->connect($route, self::PROBE_TIMEOUT_S));
            if ($route === self::WRITE && $server['role'] !== 'primary') {
                $error = 'read-only: no primary right now';
            }
        } catch (Unavailable | PDOException $problem) {
            $error = $problem->getMessage();
        }
        return array_filter([
            'status' => $error === null ? 'ok' : 'failed',
            'ms' => round((microtime(true) - $begin) * 1000, 1),
            'server' => $server,
            'error' => $error,
        ], static fn ($value) => $value !== null);
    }

    // --- connections ----------------------------------------------------------------------------------------------------
    private function connect(string $route, int $answerTimeoutS): PDO
    {
        $of = $this->environment;
        $port = $route === self::WRITE ? $of['DATABASE_PORT'] : $of['DATABASE_READ_PORT'];
        // How long a read from the server may take; it holds for connections made after it.
        ini_set('mysqlnd.net_read_timeout', (string) $answerTimeoutS);
        try {
            return new PDO(
                "mysql:host={$of['DATABASE_HOST']};port=$port;dbname={$of['DATABASE_NAME']};charset=utf8mb4",
                $of['DATABASE_USER'],
                $of['DATABASE_PASSWORD'],
                [
                    PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION,
                    PDO::ATTR_DEFAULT_FETCH_MODE => PDO::FETCH_ASSOC,
                    PDO::ATTR_TIMEOUT => self::CONNECT_TIMEOUT_S,
                    // The authority and the host name are verified.
                    PDO::MYSQL_ATTR_SSL_CA => $of['DATABASE_SSL_CA'],
                    PDO::MYSQL_ATTR_SSL_VERIFY_SERVER_CERT => true,
                    // Values are put into the statement here, safely quoted: one trip instead of two.
                    PDO::ATTR_EMULATE_PREPARES => true,
                    PDO::ATTR_STRINGIFY_FETCHES => false,
                ]
            );
        } catch (PDOException $problem) {
            error_log("$route route: {$problem->getMessage()}");
            throw new Unavailable("no connection on the $route route", previous: $problem);
        }
    }

    /** @return resource the right to write, until it is closed */
    private function placeAmongWriters()
    {
        $end = microtime(true) + self::WRITE_QUEUE_S;
        do {
            for ($number = 0; $number < self::WRITES_AT_ONCE; $number++) {
                $place = fopen(sys_get_temp_dir() . "/guestbook-writer-$number", 'c');
                if ($place !== false && flock($place, LOCK_EX | LOCK_NB)) {
                    return $place;
                }
            }
            usleep(10_000);
        } while (microtime(true) < $end);
        throw new Unavailable('too many writes are waiting for the database');
    }

    // --- writing --------------------------------------------------------------------------------------------------------
    private function insert(PDO $connection, array $values): int
    {
        try {
            try {
                return self::run($connection, self::INSERT, $values)->rowCount();
            } catch (PDOException $problem) {
                if (self::code($problem) !== self::NO_SUCH_TABLE) {
                    throw $problem;
                }
                $this->create($connection);
                return self::run($connection, self::INSERT, $values)->rowCount();
            }
        } catch (PDOException $problem) {
            error_log("write: {$problem->getMessage()}");
            throw match (true) {
                in_array(self::code($problem), self::READ_ONLY, true) => new NoPrimary('the server is read-only'),
                in_array(self::code($problem), self::REFUSED, true) => new Unavailable('refused: ' . self::code($problem)),
                default => new OutcomeUnknown(),
            };
        }
    }

    private function create(PDO $connection): void
    {
        try {
            $connection->exec(self::CREATE);
        } catch (PDOException $problem) {
            if (in_array(self::code($problem), self::READ_ONLY, true)) {
                throw $problem;
            }
            throw new Unavailable('the table is missing and could not be created', previous: $problem);
        }
    }

    /** Where the write is in the binary log; PRIMARY_ONLY if the server does not say, or died after acknowledging it. */
    private function afterWrite(PDO $connection): array
    {
        $server = null;
        try {
            $server = $this->server($connection);
            $position = $connection->query('SELECT @@last_gtid')->fetchColumn();
            return [$position ?: self::PRIMARY_ONLY, $server];
        } catch (PDOException) {
            return [self::PRIMARY_ONLY, $server];
        }
    }

    // --- reading --------------------------------------------------------------------------------------------------------
    /** Read from the read route; from the primary if that does not answer or is behind `$since`. */
    private function read(string $query, array $values, ?string $since): array
    {
        $begin = microtime(true);
        $answer = null;
        try {
            $answer = $this->readTwice(self::READ, $query, $values, $since, $begin);
            if ($answer['isCurrent']) {
                return $answer;
            }
        } catch (Unavailable) {
        }
        try {
            return $this->readTwice(self::WRITE, $query, $values, $since, $begin);
        } catch (Unavailable $problem) {
            return $answer ?? throw $problem;
        }
    }

    private function readPrimary(string $query, array $values): array
    {
        $answer = $this->readTwice(self::WRITE, $query, $values, self::PRIMARY_ONLY, microtime(true));
        return $answer['isCurrent'] ? $answer : throw new NoPrimary("{$answer['server']['name']} is read-only");
    }

    private function readTwice(string $route, string $query, array $values, ?string $since, float $begin): array
    {
        for ($attempt = 0; $attempt < 2 && microtime(true) - $begin <= self::LAST_ATTEMPT_S; $attempt++) {
            try {
                return $this->ask($this->connect($route, self::ANSWER_TIMEOUT_S), $query, $values, $since);
            } catch (Unavailable) {
                continue;
            } catch (PDOException $problem) {
                error_log("$route route: {$problem->getMessage()}");
            }
        }
        throw new Unavailable("no answer on the $route route");
    }

    private function ask(PDO $connection, string $query, array $values, ?string $since): array
    {
        $server = $this->server($connection);
        $isCurrent = $since === null || $server['role'] === 'primary' || $this->hasApplied($connection, $since);
        try {
            $entries = self::run($connection, $query, $values)->fetchAll();
        } catch (PDOException $problem) {
            if (self::code($problem) !== self::NO_SUCH_TABLE) {
                throw $problem;
            }
            $entries = []; // Nobody has written yet.
        }
        return ['entries' => $entries, 'server' => $server, 'isCurrent' => $isCurrent];
    }

    private function server(PDO $connection): array
    {
        [$name, $readOnly] = $connection->query('SELECT @@hostname, @@global.read_only')->fetch(PDO::FETCH_NUM);
        // MariaDB 12 answers with a word.
        $isPrimary = in_array((string) $readOnly, ['0', 'OFF'], true);
        return ['name' => $name, 'role' => $isPrimary ? 'primary' : 'replica'];
    }

    private function hasApplied(PDO $connection, string $position): bool
    {
        // Asked of replicas only: on a primary the function waits for a position that never comes.
        if ($position === self::PRIMARY_ONLY) {
            return false;
        }
        $waited = self::run($connection, 'SELECT MASTER_GTID_WAIT(?, ' . self::CATCH_UP_S . ')', [$position])->fetchColumn();
        return (int) $waited === 0;
    }

    private static function run(PDO $connection, string $query, array $values): PDOStatement
    {
        $statement = $connection->prepare($query);
        $statement->execute($values);
        return $statement;
    }

    private static function code(PDOException $problem): int
    {
        return (int) ($problem->errorInfo[1] ?? 0);
    }
}
