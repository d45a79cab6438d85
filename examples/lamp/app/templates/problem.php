<h1><?= $e($problem->title) ?></h1>
<p class="notice bad" role="alert"><?= $e($problem->getMessage()) ?><?= $form ? ' Your text is kept below.' : '' ?></p>
<?php if ($form): ?>
<section class="write"><?= $include('form', ['button' => 'Try again']) ?></section>
<?php endif ?>
<nav class="pages" aria-label="Pages"><a href="<?= $e($base) ?>/"><?= $problem->name === 'unavailable' ? 'Try the book again' : 'Open the book' ?></a></nav>
