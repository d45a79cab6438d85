<?php

declare(strict_types=1);

/** Pages: PHP files in which `$e` makes text of whatever it is given, so that nothing that people write becomes markup. */
final class Template
{
    public static function filled(string $name, array $values): string
    {
        $e = static fn (mixed $value): string => htmlspecialchars((string) $value, ENT_QUOTES | ENT_SUBSTITUTE | ENT_HTML5, 'UTF-8');
        $include = static fn (string $other, array $more = []): string => self::filled($other, $more + $values);
        extract($values, EXTR_SKIP);
        ob_start();
        require __DIR__ . "/../templates/$name.php";
        return (string) ob_get_clean();
    }
}
