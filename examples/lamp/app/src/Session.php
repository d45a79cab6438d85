<?php
/**
 * What is remembered of a visitor, in a signed cookie: every host knows it, and none has to keep it.
 *
 * It can be read by the visitor and changed by nobody else who lacks the key.
 */

declare(strict_types=1);

final class Session
{
    private const NAME = '__Host-guestbook';

    private array $values = [];
    private bool $isChanged = false;

    public function __construct(private readonly string $key, array $cookies)
    {
        [$content, $mark] = explode('.', $cookies[self::NAME] ?? '', 2) + ['', ''];
        if ($content !== '' && hash_equals($this->mark($content), $mark)) {
            $this->values = json_decode((string) base64_decode(strtr($content, '-_', '+/')), true) ?: [];
        }
    }

    public function get(string $name): ?string
    {
        return $this->values[$name] ?? null;
    }

    public function set(string $name, ?string $value): void
    {
        $this->isChanged = $this->isChanged || $value !== $this->get($name);
        $this->values[$name] = $value;
    }

    /** What is told once. */
    public function take(string $name): ?string
    {
        $value = $this->get($name);
        $this->set($name, null);
        return $value;
    }

    /** A word that only a page of ours, shown to this visitor, can send back. */
    public function csrf(): string
    {
        if ($this->get('csrf') === null) {
            $this->set('csrf', bin2hex(random_bytes(16)));
        }
        return (string) $this->get('csrf');
    }

    public function send(): void
    {
        if (!$this->isChanged) {
            return;
        }
        $content = strtr(base64_encode((string) json_encode(array_filter($this->values, 'is_string'))), '+/', '-_');
        setcookie(self::NAME, $content . '.' . $this->mark($content), [
            'path' => '/', 'secure' => true, 'httponly' => true, 'samesite' => 'Lax',
        ]);
    }

    private function mark(string $content): string
    {
        return hash_hmac('sha256', $content, $this->key);
    }
}
