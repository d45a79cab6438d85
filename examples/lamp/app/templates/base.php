<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="color-scheme" content="light dark">
  <title><?= $e($title) ?></title>
  <link rel="icon" href="<?= $e($base) ?>/favicon.svg" type="image/svg+xml">
  <link rel="stylesheet" href="<?= $e($base) ?>/style.css">
</head>
<body>
  <header class="column">
    <a class="wordmark" href="<?= $e($base) ?>/">Guestbook</a>
  </header>
  <main class="column">
<?= $main ?>
  </main>
  <footer>
    <div class="column">
      <h2>The way of this page</h2>
      <ol class="route">
<?php foreach ($way as $tier => $server): ?>
        <li><span class="tier"><?= $e($tier) ?></span> <span class="server"><?= $e($server) ?></span></li>
<?php endforeach ?>
      </ol>
    </div>
  </footer>
</body>
</html>
