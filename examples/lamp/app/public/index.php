<?php
/** The entry point: every path that is no file comes here. */

declare(strict_types=1);

spl_autoload_register(static function (string $name): void {
    require __DIR__ . '/../src/' . $name . '.php';
});

$database = new Database(getenv());
(new Guestbook($database, new Session((string) getenv('SECRET_KEY'), $_COOKIE), getenv()))->answer($_SERVER);
